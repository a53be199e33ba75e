"""Save the pretrained network that the package embeds as a model folder, for the commands.

python examples/embedded.py <model folder>
"""

import sys

import vitsearch
from vitsearch.pretrained import pretrained_folder

net = vitsearch.from_timm(pretrained_folder("vit_fashion"), pretrained=True)
folder = vitsearch.save_model(net.extract(net.largest), sys.argv[1])
print(f"written to {folder}")
