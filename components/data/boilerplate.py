"""Captions that say nothing of their picture: what cameras, galleries and templates write where a description was not given."""

import re

_WORDS = """
    image, img, picture, photo, photograph, pic, thumbnail, icon, logo, banner, screenshot, attachment, file, download, stock photo, placeholder, default,
    untitled, unknown, undefined, none, null, n/a, na, no caption, no title, no description, no image available, image not available, caption, title,
    description, alt, alt text, click to enlarge, click to zoom, view larger image, read more
"""
_NOTHING = frozenset(" ".join(words.split()) for words in _WORDS.split(","))
_FILE = re.compile(r"[\w.()\- ]*\.(?:jpe?g|png|gif|webp|bmp|tiff?|heic|avif|svg)", re.IGNORECASE)
_CAMERA = re.compile(r"(?:img|dsc|dscn|dscf|pict?|pxl|mvimg|screenshot|photo|image|whatsapp image)(?=\D*\d)[\d_\-.:\s()]+", re.IGNORECASE)
_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)


def says_nothing(caption: str) -> bool:
    plain = caption.strip(" .:;,!?\"'()[]<>-_").lower()
    whole = caption.strip()
    return plain in _NOTHING or not any(sign.isalpha() for sign in plain) or any(form.fullmatch(whole) for form in (_FILE, _CAMERA, _LINK))
