"""Several sub-networks as one batch of one shape: the largest sizes for all, zeros where they end.

Which channels a share of the batch has is data, not a shape: every share's weights are put at the
beginning of a zero-padded copy of the largest weight, and a layer is one product batched over the
shares. Channels that a share does not have are zero all the way, so outputs and gradients are those
of the sliced execution (`together.py`). A layer has a masked form (`form`), or runs share by share.
"""

from vitsearch.supernet.masked import attention, basic, glit
from vitsearch.supernet.masked.forms import form, run_layer
from vitsearch.supernet.masked.network import run, run_heads
from vitsearch.supernet.masked.shares import Shares

__all__ = ["Shares", "attention", "basic", "form", "glit", "run", "run_heads", "run_layer"]
