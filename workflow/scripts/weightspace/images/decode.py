"""An encoded picture becomes pixels: upright, opaque, square, of one size, gray or RGB, eight bits deep."""

import struct
from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from weightspace.errors import InputError
from weightspace.images.labels import Picture
from weightspace.images.settings import ImagesConfig

MAX_PIXELS = 2**26  # of one picture, also once it is padded: more than cameras of today make
# What Pillow's own conversion to gray or RGB is right for; "1" and "P" are PNG's bilevel and palette, "CMYK" is a JPEG for print.
OPAQUE = ("L", "RGB", "1", "P", "CMYK")
DEEP = ("I;16", "I;16B", "I;16L", "I")  # 16-bit gray, as versions of Pillow name it
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


def decode_image(picture: Picture, config: ImagesConfig) -> UInt8[np.ndarray, "height width channel"]:
    """Pixels of one PNG or JPEG at the size and with the channels of `config`, turned as its EXIF orientation says.

    16-bit gray levels become level / 257, rounded; 16-bit colors keep their upper eight bits. Transparent pixels show the
    background: alpha color + (1 - alpha) background. Palettes become the colors that they stand for, colors become gray as
    .299 R + .587 G + .114 B (ITU-R 601). `config.crop` takes the middle, `config.fit` makes square; other sizes are resized
    with Pillow's antialiased bilinear filter. Raises InputError that begins with `picture.which` if the picture cannot be
    decoded, has more than MAX_PIXELS, is smaller than the crop, or is not square and `config.fit` is None.
    """
    image = _upright(_opened(picture), picture.which)
    image = _opaque(_eight_bits(image, picture.which), config.background).convert("L" if config.channels == 1 else "RGB")
    if config.crop:
        image = _middle(image, config.crop, picture.which)
    if image.width != image.height:
        image = _squared(image, config, picture.which)
    if image.size != (config.size, config.size):
        image = image.resize((config.size, config.size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(config.size, config.size, config.channels)


def _opened(picture: Picture) -> Image.Image:
    """The decoded picture, as it is stored."""
    try:
        Image.open(BytesIO(picture.content), formats=("PNG", "JPEG")).verify()  # PNG's checksums, which decoding skips
        image = Image.open(BytesIO(picture.content), formats=("PNG", "JPEG"))
        if image.width * image.height > MAX_PIXELS:
            raise InputError(f"{picture.which} has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{picture.which} cannot be decoded as PNG or JPEG") from error
    return image


def _upright(image: Image.Image, which: str) -> Image.Image:
    """The picture as viewers show it, and `datasets` too."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise InputError(f"{which} has an EXIF block that cannot be read, which may say how to turn it") from error
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _eight_bits(image: Image.Image, which: str) -> Image.Image:
    """16-bit gray as 8-bit gray, where Pillow itself would clip at 255."""
    if image.mode not in DEEP:
        return image
    if image.has_transparency_data:
        raise InputError(f"{which} is 16-bit gray with a level that is transparent, which is not read")
    return Image.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).astype(np.uint8))


def _opaque(image: Image.Image, background: str) -> Image.Image:
    """The picture before the background, where it is transparent."""
    if image.mode in OPAQUE and not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image).convert("RGB")


def _middle(image: Image.Image, side: int, which: str) -> Image.Image:
    """The square of `side` pixels in the middle."""
    if min(image.size) < side:
        raise InputError(f"{which} has {image.width} x {image.height} pixels, less than the crop of {side}")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _squared(image: Image.Image, config: ImagesConfig, which: str) -> Image.Image:
    """The middle of the picture, the picture between borders, or, to be squeezed, the picture as it is."""
    if config.fit is None:
        size = f"{image.width} x {image.height} pixels"
        raise InputError(f"{which} is not square ({size}): set fit of its image set to crop, squeeze or pad")
    if config.fit == "squeeze":
        return image
    if config.fit == "crop":
        return _middle(image, min(image.size), which)
    side = max(image.size)
    if side * side > MAX_PIXELS:
        raise InputError(f"{which} has {image.width} x {image.height} pixels, too long to be padded to a square")
    square = Image.new(image.mode, (side, side), config.background)
    square.paste(image, (-((image.width - side) // 2), -((image.height - side) // 2)))
    return square
