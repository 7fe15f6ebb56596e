"""Memory requests of jobs: what they need on the phantom, plus a part that grows with their inputs.

On a single machine these are not enforced; a cluster kills jobs that exceed them. Its profile runs
a failed job once more (`retries`), and the second attempt requests twice as much. The factors are
chosen so that Wen 2018 with BLIP-2 fits, in part by estimates (docs/real-run.md). Of `video` about a
third are the video tokens, which are memory-mapped; the rest is not read. `set-resources` in a
profile overrides them (docs/cluster.md). Snakemake shows <TBD> until the inputs exist.
"""


def listed(files):
    """The files of an input as a list; a single file is a string."""
    return [files] if isinstance(files, str) else files


def megabytes(files):
    """Total size of files."""
    return sum(os.stat(file).st_size for file in listed(files)) / 2**20


def weights_megabytes(files):
    """Size of a model's weights, which are in the same folder as the files that rules name."""
    megabytes(files)  # fails if they do not exist yet, and Snakemake asks again later
    folders = {Path(file).parent for file in listed(files)}
    return megabytes([w for folder in folders for w in folder.glob("*.safetensors")])


def memory(base, processes=1, **times):
    """`mem_mb`: a base plus multiples of the size of the named inputs (for `model`, the size of its
    weights), times the number of processes.
    """

    def of(wildcards, input, attempt):
        sizes = {
            name: (weights_megabytes if name == "model" else megabytes)(input[name])
            for name in times
        }
        grown = sum(k * sizes[name] for name, k in times.items())
        return math.ceil(attempt * processes * (base + grown))

    return of


def memory_of_a_run(base, name):
    """`mem_mb`: a base plus the largest run of the named input, uncompressed.

    Compressed integers become three float32 arrays, each about five times as large.
    """

    def of(wildcards, input, attempt):
        sizes = [megabytes(file) for file in listed(input[name])]
        return math.ceil(attempt * (base + 15 * max(sizes, default=0)))

    return of


def memory_of_encoder(base):
    """`mem_mb` per process: a base plus weights, gradients and two moments of SC-MBM (float32)."""

    def of(wildcards, input, attempt):
        chosen = SETTINGS.arm(wildcards.arm).encoder
        sizes = (chosen.depth, chosen.embed_dim), (
            chosen.decoder_depth,
            chosen.decoder_embed_dim,
        )
        weights = sum(12 * blocks * width**2 for blocks, width in sizes)
        return math.ceil(attempt * SETTINGS.gpus * (base + 4 * 4 * weights / 2**20))

    return of
