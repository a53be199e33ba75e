"""What a network takes: latency, memory; and compiling it."""
