"""How much memory a job asks for: what it takes on the phantom, and what grows with its inputs.

Where jobs run side by side on one machine nothing is held to it; a cluster kills what takes more.
The factors are such that the estimates for Wen 2018 with BLIP-2 fit (docs/real-run.md), and
`set-resources` of a profile overrides them (docs/cluster.md). Before the inputs exist Snakemake says <TBD>.
"""


def listed(files):
    """Files of an input; a lone one is a string."""
    return [files] if isinstance(files, str) else files


def megabytes(files):
    """Size of files together."""
    return sum(os.stat(file).st_size for file in listed(files)) / 2**20


def weights_megabytes(files):
    """Size of a model's weights, which lie beside the files of it that rules name."""
    megabytes(files)  # raises where they are not there yet, and Snakemake asks again
    folders = {Path(file).parent for file in listed(files)}
    return megabytes([w for folder in folders for w in folder.glob("*.safetensors")])


def memory(base, processes=1, **times):
    """`mem_mb`: a base, and so many times the size of the inputs of these names; of `model`, that
    of its weights. As often as there are processes.
    """

    def of(wildcards, input):
        sizes = {
            name: (weights_megabytes if name == "model" else megabytes)(input[name])
            for name in times
        }
        grown = sum(k * sizes[name] for name, k in times.items())
        return math.ceil(processes * (base + grown))

    return of


def memory_of_a_run(base, name):
    """`mem_mb`: a base, and a run of the input of that name, the largest, as it is unpacked.

    Compressed integers become three arrays of float32, of which each is about five times as large.
    """

    def of(wildcards, input):
        sizes = [megabytes(file) for file in listed(input[name])]
        return math.ceil(base + 15 * max(sizes, default=0))

    return of


def memory_of_encoder(base):
    """`mem_mb`: a base, and SC-MBM's weights, gradients and two moments, in float32, a process."""

    def of(wildcards, input):
        chosen = SETTINGS.arm(wildcards.arm).encoder
        sizes = (chosen.blocks, chosen.width), (
            chosen.decoder_blocks,
            chosen.decoder_width,
        )
        weights = sum(12 * blocks * width**2 for blocks, width in sizes)
        return math.ceil(SETTINGS.gpus * (base + 4 * 4 * weights / 2**20))

    return of
