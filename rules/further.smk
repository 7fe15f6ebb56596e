"""The pretraining cohort: its subjects, and which arms share a model pretrained on it."""

FURTHER_SUBJECTS = ready.further_subjects(SETTINGS)


def person_derivatives(wildcards):
    """BOLD, sidecars, masks and confounds of one of its subjects."""
    folder = Path(SETTINGS.pretraining.derivatives or "", f"sub-{wildcards.person}")
    own = folder.glob(f"**/func/*_space-{SETTINGS.bold.space}_*")
    more = folder.glob("**/func/*_desc-confounds_timeseries.*")
    tasks = SETTINGS.pretraining.tasks
    return sorted(
        str(file)
        for part in (own, more)
        for file in part
        if Recording.parse(file).of(tasks)
    )


def further_task_options(wildcards, input):
    """`--task NAME` for each of its tasks in the settings, or nothing."""
    return each("task", SETTINGS.pretraining.tasks)


def further_settings(arm):
    """Encoder settings of an arm, with the training settings of the pretraining cohort."""
    encoder, fit = SETTINGS.arm(arm).encoder, SETTINGS.pretraining.fit
    return encoder.model_copy(update={"fit": fit, "pretraining": True})


def of_further_pretraining(wildcards):
    return further_settings(wildcards.arm).model_dump_json()


def further_pretrained(wildcards):
    """The model from which an arm's masked pretraining starts: that of the first arm with the same
    encoder settings."""
    if not (FURTHER_SUBJECTS and SETTINGS.arm(wildcards.arm).encoder.pretraining):
        return []
    own = further_settings(wildcards.arm)
    first = next(arm for arm in SETTINGS.arms if further_settings(arm) == own)
    return [f"models/{first}/pretraining.safetensors"]


def start_option(wildcards, input):
    return f"--start {input.start}" if input.start else ""


def people_options(wildcards):
    """`--subject 100307` for each subject of the cohort."""
    return each("subject", FURTHER_SUBJECTS)
