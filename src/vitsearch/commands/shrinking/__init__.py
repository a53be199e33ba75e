"""What a shrinking is resolved to: the network, its images, its classifier, its budgets."""
