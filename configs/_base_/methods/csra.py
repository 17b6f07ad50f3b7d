# CSRA, class-specific residual attention (arXiv 2108.02456). A recipe sets num_heads
# and lam.
method = dict(model=dict(head=dict(type='PartialLabelCSRAHead')))
