"""One architecture on other images: only its own patch size and tokens have to fit them."""

from __future__ import annotations

from vitsearch.errors import SpaceError
from vitsearch.spaces.architecture import Architecture
from vitsearch.spaces.flow import ImageSize
from vitsearch.spaces.space import SearchSpace

PATCH_SIZE, TOKENS = "stem.patch_size", ".num_tokens"


def resized_for(
    space: SearchSpace,
    architecture: Architecture,
    *,
    image_size: ImageSize | None = None,
    in_chans: int | None = None,
) -> SearchSpace:
    """The space for other images; where not all of its patch sizes fit, with this one's alone.

    ViTAS chooses among patches of 14, 16 and 32 pixels, which all divide 224 and few other sizes.
    The same holds for more tokens than a small image has pixels, and for merging or keeping more
    of them than it has.

    Args:
        space: Where the architecture is legal.
        architecture: What has to be legal in the result.
        image_size: Of the images, pixels: a side, or height and width; as it is where `None`.
        in_chans: Channels; as they are where `None`.

    Raises:
        SpaceError: The architecture's patch size does not divide the image size.
    """
    try:
        return space.resized(image_size=image_size, in_chans=in_chans)
    except SpaceError:
        fewer = {name for stage in space.stages for name in stage.token_choices}
        fixed = {
            name: value
            for name, value in architecture.items()
            if name == PATCH_SIZE or name.endswith(TOKENS) or name in fewer
        }
        own = space.restrict(fixed)
        return own.resized(image_size=image_size, in_chans=in_chans)
