"""Letters of five scripts in twelve typefaces: image tasks without a data set."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ..episodes import Episodes, TaskFamily, shuffled

# The DejaVu text faces that come with matplotlib.
FACES = (
    *(f"{face}{style}" for face in ("Sans", "SansMono") for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"Serif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
)
# First and last letter of each run; of letters that look alike, the first in this order stays.
SCRIPTS = {
    "Latin": ((0x41, 0x5A), (0x61, 0x7A), (0x250, 0x2AF)),  # upper case, lower case, phonetic letters
    "Greek": ((0x391, 0x3A9), (0x3B1, 0x3C9)),
    "Cyrillic": ((0x410, 0x42F), (0x430, 0x44F)),
    "Armenian": ((0x531, 0x556), (0x561, 0x586)),
    "Georgian": ((0x10D0, 0x10F0),),  # has no case
}
LIKENESS = 0.97  # cosine similarity of pixels above which two letters look alike
EM = 0.7  # font size over image width: room for wide letters to turn and move
# Jitter, drawn uniformly within plus or minus: radians, log of the factor, shear, shift in half widths.
ROTATION, STRETCH, SHEAR, SHIFT = np.deg2rad(15), 0.15, 0.15, 1 / 7


def _file(face: str) -> str:
    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"DejaVu{face}.ttf"))


def _print(letters: Sequence[str], face: str, width: int, zoom: int = 2) -> np.ndarray:
    """(n, width, width) bytes: letters on pages `zoom` times as wide, then averaged, ink in the centre."""
    page_width = zoom * width
    font = ImageFont.truetype(_file(face), round(EM * page_width), layout_engine=ImageFont.Layout.BASIC)
    pages = []
    for letter in letters:
        page = Image.new("L", (page_width, page_width))
        pen = ImageDraw.Draw(page)
        left, top, right, bottom = pen.textbbox((0, 0), letter, font=font)
        corner = (page_width - left - right) / 2, (page_width - top - bottom) / 2
        pen.text(corner, letter, fill=255, font=font)
        pages.append(np.asarray(page.reduce(zoom)))
    return np.stack(pages)


@functools.cache
def _letters() -> tuple[dict[str, str], dict[str, str]]:
    """Letter -> script of the letters that stay, and look-alike -> the letter that stays in its place."""
    drawn = set.intersection(*(set(FT2Font(_file(face)).get_charmap()) for face in FACES))
    runs = [(name, range(first, last + 1)) for name, parts in SCRIPTS.items() for first, last in parts]
    script = {chr(code): name for name, run in runs for code in run if code in drawn}
    names = list(script)
    # Large pages: on small ones letters are fitted to whole pixels, which sets equal shapes apart.
    pixels = _print(names, "Sans", 28, zoom=8).reshape(len(names), -1).astype(float)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    kept, look_alikes = [], {}
    for i in range(len(names)):
        likeness = pixels[kept] @ pixels[i]
        if (likeness > LIKENESS).any():
            look_alikes[names[i]] = names[kept[likeness.argmax()]]
        else:
            kept.append(i)
    return {names[i]: script[names[i]] for i in kept}, look_alikes


@functools.lru_cache(maxsize=4)
def _prints(width: int) -> Tensor:
    """(faces, letters, width, width) bytes, all letters in all faces."""
    return torch.from_numpy(np.stack([_print(list(_letters()[0]), face, width) for face in FACES]))


def _chosen(names: str | Sequence[str], known: Sequence[str], what: str) -> tuple[str, ...]:
    names = (names,) if isinstance(names, str) else tuple(names)
    if not names or not set(names) <= set(known):
        raise ValueError(f"{what} must be one or more of {', '.join(known)}; got {names}.")
    return names


class Glyphs(TaskFamily):
    """One letter is normal, the other letters are anomalies; every image has a typeface of its own.

    The units are letters, upper and lower case, in the twelve DejaVu faces of matplotlib. They are printed, not
    handwritten. Of letters that look alike (the capital A of Latin, Greek and Cyrillic) only the first stays, scripts
    taken in the order of `SCRIPTS`; about 310 are left. Each image is turned by up to 15 degrees, stretched or
    squeezed along each axis by a factor of up to exp(0.15), sheared by up to 0.15 and moved by up to 1/14 of its width.

    After a split the anomalies of a task are letters of its own side. A letter is one unit in all faces: to test on
    new faces, take ``test.of_faces(...)`` of letters held out as well.

    Args:
        normal_shots, anomalous_shots, normal_queries, anomalous_queries: images per episode.
        scripts: which of `SCRIPTS` to take letters from.
        faces: which of `FACES` to print them in.
        size: height and width of the images in pixels, 8 to 64.
        anomaly: where the anomalies of a task come from: "any" other letters, or "one" other letter.
        jitter: factor on all ranges of the affine map; 0 leaves the letters upright in the centre.

    Attributes:
        script: the script of each unit.
        look_alikes: letter left out -> the letter that stays for it.

    Raises:
        ValueError: if an argument is out of range or a name is unknown.
    """

    source = "Glyphs"  # a letter is the same unit in every face and size
    fewest_units = 2

    def __init__(
        self,
        normal_shots: int = 5,
        anomalous_shots: int = 0,
        normal_queries: int = 15,
        anomalous_queries: int = 15,
        scripts: str | Sequence[str] = tuple(SCRIPTS),
        faces: str | Sequence[str] = FACES,
        size: int = 14,
        anomaly: str = "any",
        jitter: float = 1.0,
    ):
        if not isinstance(size, int | np.integer) or not 8 <= size <= 64:
            raise ValueError(f"size must be an integer from 8 to 64, got {size!r}.")
        if anomaly not in ("any", "one"):
            raise ValueError(f'anomaly must be "any" or "one", got {anomaly!r}.')
        if not 0 <= jitter <= 2:
            raise ValueError(f"jitter must lie between 0 and 2, got {jitter}.")
        scripts = _chosen(scripts, tuple(SCRIPTS), "scripts")
        self.faces = _chosen(faces, FACES, "faces")
        self.size, self.anomaly, self.jitter = int(size), anomaly, jitter
        kept, look_alikes = _letters()
        self.look_alikes = dict(look_alikes)
        units = [letter for letter, script in kept.items() if script in scripts]
        super().__init__(units, normal_shots, anomalous_shots, normal_queries, anomalous_queries)

    @property
    def script(self) -> np.ndarray:
        return np.array([_letters()[0][letter] for letter in self.units.tolist()])

    def of_scripts(self, *names: str) -> Glyphs:
        """The letters of these scripts only."""
        return self.restrict(self.units[np.isin(self.script, _chosen(names, tuple(SCRIPTS), "scripts"))])

    def of_faces(self, *names: str) -> Glyphs:
        """The same letters in these faces only."""
        part = copy.copy(self)
        part.faces = _chosen(names, FACES, "faces")
        return part

    def _draw(self, units: np.ndarray, rng: np.random.Generator) -> Episodes:
        sizes = (self.normal_shots, self.anomalous_shots, self.normal_queries, self.anomalous_queries)
        y = np.tile(np.repeat([0.0, 1.0, 0.0, 1.0], sizes), (len(units), 1))
        own = np.argmax(units[:, None] == self.units, axis=1)[:, None]
        columns = 1 if self.anomaly == "one" else y.shape[1]
        other = rng.integers(len(self.units) - 1, size=(len(units), columns))
        letters = np.where(y == 1, other + (other >= own), own)  # the normal letter is skipped
        row = {letter: i for i, letter in enumerate(_letters()[0])}
        x = self._images(np.array([row[unit] for unit in self.units.tolist()])[letters], rng)
        cut = self.normal_shots + self.anomalous_shots
        return Episodes(*shuffled(x[:, :cut], y[:, :cut], rng), *shuffled(x[:, cut:], y[:, cut:], rng), units)

    def _images(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(*rows.shape, size, size) images of letters given by number, faces and jitter drawn at random."""
        prints = _prints(2 * self.size)
        faces = rng.choice([FACES.index(face) for face in self.faces], size=rows.size)
        unit = self.jitter * rng.uniform(-1, 1, size=(6, rows.size))
        turn, shear, shift = ROTATION * unit[0], SHEAR * unit[1], SHIFT * unit[2:4]
        wide, high = np.exp(STRETCH * unit[4:])
        cos, sin = np.cos(turn), np.sin(turn)
        # From places in the image to places in the print: stretch, shear, turn, move.
        affine = np.array(
            [
                [cos * wide, (cos * shear - sin) * high, shift[0]],
                [sin * wide, (sin * shear + cos) * high, shift[1]],
            ]
        )
        affine = torch.from_numpy(affine.transpose(2, 0, 1).astype(np.float32))
        images = np.empty((rows.size, self.size, self.size))
        for part in np.array_split(np.arange(rows.size), -(-rows.size // 1000)):  # bounds the memory
            printed = prints[faces[part], rows.flat[part], None].float() / 255
            places = affine_grid(affine[part], (len(part), 1, self.size, self.size), align_corners=False)
            images[part] = grid_sample(printed, places, align_corners=False)[:, 0].clamp(0, 1).numpy()
        return images.reshape(*rows.shape, self.size, self.size)
