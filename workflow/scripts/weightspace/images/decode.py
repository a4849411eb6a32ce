"""An encoded picture becomes pixels: upright, square, of one size, gray or RGB."""

import struct
from io import BytesIO
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from weightspace.errors import InputError
from weightspace.images.settings import ImagesConfig

# What becomes 8-bit gray or RGB without loss of depth or transparency; "1" and "P" are PNG's bilevel and palette.
MODES = ("L", "RGB", "1", "P")
# What undoes each EXIF orientation. Pillow's exif_transpose would also rewrite the EXIF block, and stops at odd ones.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(content: bytes | None, config: ImagesConfig, which: str) -> UInt8[np.ndarray, "height width channel"]:
    """Pixels of one PNG or JPEG at the size and with the channels of `config`, turned as its EXIF orientation says.

    Other sizes are resized with Pillow's antialiased bilinear filter. Raises InputError that begins with `which` if the
    picture cannot be decoded, has another mode, or is not square and `config.fit` is None.
    """
    image = _opened(content, which)
    if image.mode not in MODES or image.has_transparency_data:
        raise InputError(f"{which} is not 8-bit gray or RGB without transparency (Pillow's mode {image.mode})")
    image = _upright(image, which).convert("L" if config.channels == 1 else "RGB")
    if image.width != image.height:
        if config.fit is None:
            size = f"{image.width} x {image.height} pixels"
            raise InputError(f"{which} is not square ({size}): set fit of its image set to crop, squeeze or pad")
        image = _squared(image, config.fit, which)
    if image.size != (config.size, config.size):
        image = image.resize((config.size, config.size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(config.size, config.size, config.channels)


def _opened(content: bytes | None, which: str) -> Image.Image:
    """The decoded picture, as it is stored."""
    try:
        Image.open(BytesIO(content), formats=("PNG", "JPEG")).verify()  # PNG's checksums, which decoding skips
        image = Image.open(BytesIO(content), formats=("PNG", "JPEG"))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{which} cannot be decoded as PNG or JPEG") from error
    return image


def _upright(image: Image.Image, which: str) -> Image.Image:
    """The picture as viewers show it, and `datasets` too."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise InputError(f"{which} has an EXIF block that cannot be read, which may say how to turn it") from error
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _squared(image: Image.Image, fit: Literal["crop", "squeeze", "pad"], which: str) -> Image.Image:
    """The middle of the picture, the picture between black borders, or, to be squeezed, the picture as it is."""
    if fit == "squeeze":
        return image
    side = min(image.size) if fit == "crop" else max(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    try:
        return image.crop((left, top, left + side, top + side))  # what lies outside of the picture is black
    except Image.DecompressionBombError as error:
        raise InputError(f"{which} has {image.width} x {image.height} pixels, too long to be padded to a square") from error
