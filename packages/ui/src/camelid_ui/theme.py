"""The look of the pages: a theme on `gr.themes.Base`, the stylesheet and the page's script.

Knows colours and files. Knows nothing of what is on the pages.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import gradio as gr

_ACCENT = gr.themes.Color(
    name="camelid",
    c50="#eef6f5", c100="#d6eae8", c200="#aed5d1", c300="#7fbab5", c400="#4f9c96", c500="#2f807a",
    c600="#1f6862", c700="#1a544f", c800="#164441", c900="#133836", c950="#0a211f",
)  # fmt: skip
_GREY = gr.themes.Color(
    name="stone",
    c50="#f8f8f6", c100="#f0f0ed", c200="#e3e3de", c300="#cfcfc8", c400="#a2a29a", c500="#74746d",
    c600="#5a5a54", c700="#3e3e3a", c800="#272724", c900="#1b1b19", c950="#121211",
)  # fmt: skip


def theme() -> Any:
    base = gr.themes.Base(
        primary_hue=_ACCENT,
        secondary_hue=_GREY,
        neutral_hue=_GREY,
        text_size=gr.themes.sizes.text_md,
        radius_size=gr.themes.sizes.radius_sm,
        font=("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "sans-serif"),
        font_mono=("ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace"),
    )
    return base.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_padding="0px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="500",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        form_gap_width="0px",
        input_border_width="1px",
        input_border_width_dark="1px",
        input_shadow="none",
        button_large_text_size="*text_md",
        button_large_text_weight="500",
        button_large_padding="8px 18px",
        button_small_text_weight="500",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_800",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )


def stylesheet() -> str:
    return files("camelid_ui").joinpath("static", "style.css").read_text(encoding="utf-8")


def head() -> str:
    static = files("camelid_ui").joinpath("static")
    script = "".join(static.joinpath(name).read_text(encoding="utf-8") for name in ("page.js", "history.js", "jobs.js"))
    return f'<meta name="color-scheme" content="light dark"><script>{script}</script>'
