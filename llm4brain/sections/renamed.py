"""Settings that had another name, so that an old file gets the new one in its error."""

FIT = {
    "accumulate": "gradient_accumulation_steps",
    "clip": "max_grad_norm",
    "warmup": "warmup_ratio",
}
RENAMED = {  # section -> old key -> new key
    "encoder": {
        "blocks": "depth",
        "decoder_blocks": "decoder_depth",
        "decoder_width": "decoder_embed_dim",
        "heads": "num_heads",
        "patch": "patch_size",
        "width": "embed_dim",
    },
    "video_llm": {
        "patch": "patch_size",
        "queries": "num_query_tokens",
        "width": "embed_dim",
    },
    "align": {"rank": "n_components"},
    "evaluate": {
        "block": "block_seconds",
        "permutations": "n_permutations",
        "roll": "shift_seconds",
        "samples": "n_bootstrap",
    },
    **dict.fromkeys(("fit", "contrast", "generate"), FIT),
}


def new_name(section: str, key: str) -> str | None:
    """The present name of a key that was renamed, or None.

    >>> new_name("encoder", "width"), new_name("encoder", "wdith")
    ('embed_dim', None)
    """
    return RENAMED.get(section, {}).get(key)
