"""Pictures become pixels: turned as EXIF says, made square as the settings say and never otherwise."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from planted_images import encoded, parquet_config
from weightspace.errors import InputError
from weightspace.images.decode import decode_image
from weightspace.images.labels import Picture

ORIENTATION = 274  # tag of EXIF
# EXIF's own words for where the picture's first row and first column are, as what stores an upright picture so.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.swapaxes(0, 1),  # left, top
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),  # right, top
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda upright: upright[::-1].swapaxes(0, 1),  # left, bottom
}


def pixels_of(height, width, channels=1, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (height, width, channels), dtype=np.uint8)


def decoded(pixels, exif=b"", kind="PNG", **settings):
    picture = Image.fromarray(np.ascontiguousarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels))
    config = parquet_config(channels=pixels.shape[-1], **settings)
    return decode_image(Picture("a picture", encoded(picture, kind, exif=exif)), config)


def exif_of(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", STORED)
def test_a_picture_stored_in_any_orientation_comes_back_upright(orientation, channels):
    upright = pixels_of(8, 8, channels)
    np.testing.assert_array_equal(decoded(STORED[orientation](upright), exif_of(orientation), size=8), upright)


@pytest.mark.parametrize("orientation", STORED)
def test_pictures_are_turned_as_pillow_turns_them(orientation):
    picture = Image.fromarray(pixels_of(8, 8).squeeze(-1))
    picture.getexif()[ORIENTATION] = orientation
    np.testing.assert_array_equal(
        decoded(pixels_of(8, 8), exif_of(orientation), size=8).squeeze(-1), np.asarray(ImageOps.exif_transpose(picture))
    )


def test_a_jpeg_is_turned_too():
    halves = np.repeat([[10] * 8 + [240] * 8], 16, axis=0).astype(np.uint8)[..., None]
    turned = decoded(halves, exif_of(6), kind="JPEG", size=16).squeeze(-1)
    assert turned[:6].max() < 40
    assert turned[10:].min() > 210


def test_what_is_upright_after_turning_is_what_is_made_square():
    tall = pixels_of(12, 8)
    np.testing.assert_array_equal(decoded(STORED[6](tall), exif_of(6), size=8, fit="crop"), tall[2:10])


@pytest.mark.parametrize("exif", [b"Exif\0\0MX", b"MM", b"Exif\0\0MM\0*"])
def test_exif_that_cannot_be_read_is_said(exif):
    with pytest.raises(InputError, match="^a picture has an EXIF block that cannot be read"):
        decoded(pixels_of(8, 8), exif, size=8)


@pytest.mark.parametrize(("height", "width"), [(8, 9), (28, 20)])
def test_a_picture_that_is_not_square_stops_without_the_setting(height, width):
    with pytest.raises(
        InputError, match=rf"a picture is not square \({width} x {height} pixels\): set fit .* crop, squeeze or pad"
    ):
        decoded(pixels_of(height, width), size=8)


@pytest.mark.parametrize("fit", [None, "crop", "squeeze", "pad"])
@pytest.mark.parametrize("side", [8, 13, 28])
def test_fit_changes_no_square_picture(fit, side):
    square = pixels_of(side, side, channels=3)
    expected = Image.fromarray(square).resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decoded(square, size=8, fit=fit), np.asarray(expected))


@pytest.mark.parametrize("shape", [(8, 14), (14, 8), (8, 13), (13, 8)])
def test_crop_keeps_the_middle(shape):
    pixels = pixels_of(*shape)
    top, left = ((side - 8) // 2 for side in shape)
    np.testing.assert_array_equal(decoded(pixels, size=8, fit="crop"), pixels[top : top + 8, left : left + 8])


@pytest.mark.parametrize("shape", [(8, 14), (14, 8), (13, 8)])
def test_pad_loses_no_pixel_and_adds_only_black(shape):
    pixels = pixels_of(*shape, channels=3)
    padded, side = decoded(pixels, size=max(shape), fit="pad"), max(shape)
    top, left = (-((length - side) // 2) for length in shape)
    np.testing.assert_array_equal(padded[top : top + shape[0], left : left + shape[1]], pixels)
    assert (padded > 0).sum() == pixels.size


def test_a_picture_too_long_to_be_padded_is_named(monkeypatch):
    monkeypatch.setattr("weightspace.images.decode.MAX_PIXELS", 100)
    with pytest.raises(InputError, match="^a picture has 20 x 2 pixels, too long to be padded to a square"):
        decoded(pixels_of(2, 20), size=8, fit="pad")


def test_squeeze_changes_the_aspect_alone():
    halves = np.repeat([[10] * 14 + [240] * 14], 20, axis=0).astype(np.uint8)[..., None]
    squeezed = decoded(halves, size=8, fit="squeeze").squeeze(-1)
    assert (squeezed[:, :3] == 10).all()
    assert (squeezed[:, 5:] == 240).all()


# depth, transparency, palettes


def planted_png(pixels, depth, color):
    """A PNG by its specification: 8 or 16 bits, color type 0 gray, 2 RGB."""
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in pixels)
    content = b"\x89PNG\r\n\x1a\n"
    for chunk in (b"IHDR" + head, b"IDAT" + zlib.compress(rows), b"IEND"):
        content += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content


def decoded_as(content, size, **settings):
    return decode_image(Picture("a picture", content), parquet_config(size=size, **settings))


def test_every_16_bit_level_becomes_the_nearest_of_the_256():
    levels = np.arange(2**16).reshape(256, 256)
    expected = np.round(levels / 65535 * 255)  # no level lies half way
    np.testing.assert_array_equal(decoded_as(planted_png(levels, 16, 0), 256).squeeze(-1), expected)
    np.testing.assert_array_equal(decoded_as(encoded(levels.astype(np.uint16)), 256).squeeze(-1), expected)


def test_16_bit_colors_keep_their_upper_eight_bits():
    colors = np.random.default_rng(0).integers(0, 2**16, (8, 8, 3))
    np.testing.assert_array_equal(decoded_as(planted_png(colors, 16, 2), 8, channels=3), colors >> 8)


@pytest.mark.parametrize("background", ["black", "white"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_transparent_picture_is_laid_over_the_background(mode, background):
    pixels = pixels_of(8, 8, len(mode))
    found = decoded_as(encoded(Image.fromarray(pixels, mode)), 8, channels=3, background=background)
    color, alpha = pixels[..., :-1].astype(float), pixels[..., -1:] / 255
    mixed = alpha * color + (1 - alpha) * {"black": 0, "white": 255}[background]
    np.testing.assert_allclose(found, np.broadcast_to(mixed, found.shape), atol=1)


@pytest.mark.parametrize("alpha", [0, 255])
def test_no_color_shows_where_alpha_is_0_and_all_of_it_where_it_is_255(alpha):
    pixels = pixels_of(8, 8, 3)
    found = decoded_as(encoded(np.dstack([pixels, np.full((8, 8), alpha, np.uint8)])), 8, channels=3, background="white")
    np.testing.assert_array_equal(found, pixels if alpha else np.full_like(pixels, 255))


def test_a_palette_becomes_its_colors_and_a_transparent_entry_the_background():
    indices, colors = pixels_of(8, 8).squeeze(-1) % 4, pixels_of(4, 3, seed=1).squeeze(-1)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(colors.tobytes())
    np.testing.assert_array_equal(decoded_as(encoded(picture), 8, channels=3), colors[indices])
    gray = np.round(colors @ [0.299, 0.587, 0.114])
    np.testing.assert_allclose(decoded_as(encoded(picture), 8).squeeze(-1), gray[indices], atol=1)
    colors[2] = 255
    found = decoded_as(encoded(picture, transparency=2), 8, channels=3, background="white")
    np.testing.assert_array_equal(found, colors[indices])


def test_a_jpeg_for_print_is_decoded():
    cmyk = Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).convert("CMYK")
    np.testing.assert_allclose(decoded_as(encoded(cmyk, "JPEG", quality=100), 8, channels=3), 200, atol=2)


def test_what_is_opaque_is_as_pillow_converts_it():
    picture = Image.fromarray(pixels_of(8, 8, 3))
    np.testing.assert_array_equal(decoded_as(encoded(picture), 8).squeeze(-1), np.asarray(picture.convert("L")))


# the middle


@pytest.mark.parametrize("shape", [(32, 32), (33, 32), (28, 40)])
def test_a_crop_is_the_middle_whatever_the_shape(shape):
    pixels = pixels_of(*shape)
    top, left = ((side - 28) // 2 for side in shape)
    np.testing.assert_array_equal(decoded(pixels, size=28, crop=28), pixels[top : top + 28, left : left + 28])


def test_what_is_cropped_is_resized_afterwards():
    pixels = pixels_of(12, 12)
    np.testing.assert_array_equal(decoded(pixels, size=4, crop=8), decoded(pixels[2:10, 2:10], size=4))


def test_a_picture_smaller_than_the_crop_is_named():
    with pytest.raises(InputError, match="^a picture has 20 x 30 pixels, less than the crop of 28"):
        decoded(pixels_of(30, 20), size=28, crop=28)


def test_borders_have_the_color_of_the_background():
    padded = decoded(pixels_of(8, 12), size=12, fit="pad", background="white")
    assert (padded[:2] == 255).all()
    assert (padded[10:] == 255).all()
