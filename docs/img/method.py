"""Draw docs/img/method.svg, the figure of the method: python docs/img/method.py"""

from html import escape
from pathlib import Path

WIDTH, HEIGHT = 1060, 408
VIDEO, BRAIN, BOX = 62, 206, 58  # top of each row of boxes, height of a box
TITLE, NOTE = 15.5, 12.5  # font sizes
INK, LINE = "#1f2933", "#52606d"
FILL = {"data": "#e4e7eb", "frozen": "#cfe3f5", "fitted": "#fbdcb8"}
LEGEND = {
    "data": "data",
    "frozen": "frozen after pretraining",
    "fitted": "fitted or trained on training films",
}

# left edge, width, top, height, kind, lines in the box
BOXES = {
    "films": (20, 80, VIDEO, BOX, "data", ["films"]),
    "vit": (122, 104, VIDEO, BOX, "frozen", ["ViT"]),
    "qformer": (248, 104, VIDEO, BOX, "frozen", ["Q-Former"]),
    "video": (736, 96, VIDEO, BOX, "data", ["video", "tokens"]),
    "bold": (20, 80, BRAIN, BOX, "data", ["BOLD", "x"]),
    "scmbm": (122, 104, BRAIN, BOX, "frozen", ["SC-MBM", "x\u0302"]),
    "surprise": (248, 104, BRAIN, BOX, "data", ["surprise", "x \u2212 \u03b1 x\u0302"]),
    "gate": (374, 112, BRAIN, BOX, "fitted", ["agreement", "gate"]),
    "adaptor": (508, 92, BRAIN, BOX, "fitted", ["adaptor"]),
    "readout": (622, 92, BRAIN, BOX, "fitted", ["readout"]),
    "fmri": (736, 96, BRAIN, BOX, "data", ["fMRI", "tokens"]),
    "llm": (858, 84, VIDEO, BRAIN + BOX - VIDEO, "frozen", ["LLM"]),
    "lora": (870, 60, BRAIN + 10, 38, "fitted", ["LoRA"]),
    "text": (964, 76, BRAIN, BOX, "data", ["text"]),
}
ARROWS = [
    ("films", "vit"), ("vit", "qformer"), ("qformer", "video"), ("bold", "scmbm"),
    ("scmbm", "surprise"), ("surprise", "gate"), ("gate", "adaptor"), ("adaptor", "readout"),
    ("readout", "fmri"), ("fmri", "llm"), ("llm", "text"),
]  # fmt: skip
NOTES = {
    "bold": ["mean volume", "of the clip"],
    "scmbm": ["predicts each", "patch from the", "patches around it"],
    "surprise": ["what SC-MBM", "cannot predict"],
    "gate": [
        "weights positions",
        "by how well their",
        "responses agree",
        "between showings",
        "and people",
    ],
    "adaptor": ["one weight", "per position"],
    "readout": ["ridge", "regression"],
    "llm": ["generates", "a caption"],
}  # fmt: skip


def label(x, y, text, size, anchor="middle", weight="normal", colour=INK):
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
    )


def box(left, width, top, height, kind, lines):
    for line in lines:  # a bold letter is about 0.6 of the font size wide
        assert len(line) * 0.6 * TITLE < width, f"{line} leaves its box"
    yield (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="7" '
        f'fill="{FILL[kind]}" stroke="{LINE}"/>'
    )
    first = top + height / 2 + 5.5 - 10 * (len(lines) - 1)
    for row, line in enumerate(lines):
        yield label(
            left + width / 2,
            first + 20 * row,
            line,
            TITLE,
            weight="normal" if row and "x" in line else "600",
        )


def path(points, dashed=False):
    steps = " L".join(f"{x:g} {y:g}" for x, y in points)
    style = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<path d="M{steps}" fill="none" stroke="{LINE}" stroke-width="1.6"{style} '
        'marker-end="url(#head)"/>'
    )


def draw():
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" '
        'font-family="Helvetica, Arial, DejaVu Sans, sans-serif" role="img">'
    )
    yield "<title>LLM4Brain: from BOLD to text</title>"
    yield (
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" '
        f'orient="auto"><path d="M0 0.5 L7.5 4 L0 7.5 z" fill="{LINE}"/></marker></defs>'
    )
    # the panel makes the figure readable on a dark page too
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#ffffff"/>'
    yield label(20, 36, "Stimulus", TITLE, "start", "600", LINE)
    yield label(20, BRAIN - 16, "Brain", TITLE, "start", "600", LINE)
    for where in BOXES.values():
        yield from box(*where)
    for start, end in ARROWS:
        left, width, top, *_ = BOXES[start]
        y = BRAIN + BOX / 2 if start == "llm" else top + BOX / 2
        yield path([(left + width, y), (BOXES[end][0] - 1, y)])
    for name, lines in NOTES.items():
        left, width, top, height, *_ = BOXES[name]
        for row, line in enumerate(lines):
            yield label(left + width / 2, top + height + 19 + 16 * row, line, NOTE)

    # what the video tokens are used for, besides the video ceiling of table 1
    middle = {name: left + width / 2 for name, (left, width, *_) in BOXES.items()}
    below, turn = VIDEO + BOX, 164
    for name, text in (("adaptor", "CLIP loss"), ("readout", "target")):
        yield path([(middle["video"], below), (middle["video"], turn), (middle[name], turn),
                    (middle[name], BRAIN - 1)], dashed=True)  # fmt: skip
        yield label(middle[name] - 8, BRAIN - 16, text, NOTE, "end")
    y = VIDEO + BOX / 2
    yield path([(832, y), (857, y)], dashed=True)
    yield label(942, 46, "understanding gap: same LLM, before LoRA, as the teacher", NOTE, "end")

    x = 20
    for kind, text in LEGEND.items():
        yield (
            f'<rect x="{x:g}" y="372" width="20" height="14" rx="3" '
            f'fill="{FILL[kind]}" stroke="{LINE}"/>'
        )
        yield label(x + 27, 384, text, NOTE, "start")
        x += 55 + 6.3 * len(text)
    yield path([(x, 379), (x + 30, 379)], dashed=True)
    yield label(x + 38, 384, "not used for decoding", NOTE, "start")
    yield "</svg>"


if __name__ == "__main__":
    out = Path(__file__).with_suffix(".svg")
    out.write_text("\n".join(draw()) + "\n", encoding="utf-8")
