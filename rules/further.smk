"""The pretraining cohort: who is in it, and which arms share what is learned on it."""


def further_subjects():
    """Labels of the pretraining cohort; none where the settings name none."""
    chosen = SETTINGS.pretraining
    if chosen.derivatives is None:
        return []
    if chosen.subjects:
        return sorted(chosen.subjects)
    found = Path(chosen.derivatives).glob("sub-*")
    return sorted(path.name.removeprefix("sub-") for path in found if path.is_dir())


FURTHER_SUBJECTS = further_subjects()


def person_derivatives(wildcards):
    """BOLD, sidecars, masks and confounds of one of them."""
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
    """`--task NAME` for each task of it that is read, or nothing."""
    return each("task", SETTINGS.pretraining.tasks)


def further_settings(arm):
    """The encoder of an arm, trained as the pretraining cohort's settings say."""
    encoder, fit = SETTINGS.arm(arm).encoder, SETTINGS.pretraining.fit
    return encoder.model_copy(update={"fit": fit, "pretraining": True})


def of_further_pretraining(wildcards):
    return further_settings(wildcards.arm).model_dump_json()


def further_pretrained(wildcards):
    """The model at which an arm's masked pretraining begins: of the first arm with its encoder."""
    if not (FURTHER_SUBJECTS and SETTINGS.arm(wildcards.arm).encoder.pretraining):
        return []
    own = further_settings(wildcards.arm)
    first = next(arm for arm in SETTINGS.arms if further_settings(arm) == own)
    return [f"models/{first}/pretraining.safetensors"]


def start_option(wildcards, input):
    return f"--start {input.start}" if input.start else ""


def people_options(wildcards):
    """`--subject 100307` for each of them."""
    return each("subject", FURTHER_SUBJECTS)
