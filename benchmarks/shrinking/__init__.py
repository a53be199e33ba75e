"""Networks made smaller without training: ours beside a uniform cut and other libraries."""
