"""Zoos: train them in shards, join the shards' tables; their weights stay where they were written."""


def parts_of(zoo):
    """The folders that a zoo's weights lie in."""
    return collect("<results>/zoo/{zoo}/shards/{shard}", zoo=zoo, shard=range(settings.zoos[zoo].num_shards))


def shard_mb(wildcards, most_models=None):
    """Weights of one shard, or of so many of its models where it has more."""
    zoo = settings.zoos[wildcards.zoo]
    num_models = min(ceil(zoo.num_models / zoo.num_shards), most_models or zoo.num_models)
    return weights_mb(settings, wildcards.zoo, num_models, len(stored_epochs(settings, wildcards.zoo)))


def part_mb(wildcards):
    """Weights of one part, and what it takes to write it."""
    return 3 * shard_mb(wildcards, settings.zoos[wildcards.zoo].stack_size)


def read_mb(cell):
    """Weights that an autoencoder or a baseline reads, twice."""
    return 2 * weights_mb(settings, cell.zoo, settings.zoos[cell.zoo].num_models, len(cell.epochs))


rule train_zoo:
    input:
        images=lambda w: f"<results>/images/{settings.zoos[w.zoo].images}.safetensors",
    output:
        parts=directory("<results>/zoo/{zoo}/shards/{shard}"),
        models="<results>/zoo/{zoo}/shards/{shard}.parquet",
    log:
        "<logs>/train_zoo/{zoo}/{shard}.log",
    benchmark:
        "<benchmarks>/train_zoo/{zoo}-{shard}.tsv"
    resources:
        mem_mb=mem_scaled(2000, part_mb),
        disk_mb=lambda w: ceil(shard_mb(w)),
        runtime=training_minutes,
        gpu=GPUS,
        device=settings.device,
    params:
        zoo=lambda w: settings.zoos[w.zoo].model_dump(mode="json"),
        stored=lambda w: stored_epochs(settings, w.zoo),
        version=VERSION["zoo"],
    script:
        "../scripts/train_zoo.py"


rule join_zoo:
    input:
        parts=lambda w: parts_of(w.zoo),
        models=lambda w: collect(
            "<results>/zoo/{zoo}/shards/{shard}.parquet", zoo=w.zoo, shard=range(settings.zoos[w.zoo].num_shards)
        ),
    output:
        weights="<results>/zoo/{zoo}/weights.safetensors",
        models="<results>/zoo/{zoo}/models.parquet",
        metrics="<results>/zoo/{zoo}/metrics.parquet",
    log:
        "<logs>/join_zoo/{zoo}.log",
    benchmark:
        "<benchmarks>/join_zoo/{zoo}.tsv"
    resources:
        mem_mb=mem_scaled(2000),
        runtime=10,
    params:
        scenario=SCENARIO,
        version=VERSION["zoo"],
    script:
        "../scripts/join_zoo.py"
