"""Zoos: train them in shards, join the shards' tables; their weights stay where they were written."""


def parts_of(zoo):
    """The folders that a zoo's weights lie in."""
    return collect("<results>/zoo/{zoo}/shards/{shard}", zoo=zoo, shard=range(settings.zoos[zoo].num_shards))


def part_mb(wildcards):
    """Weights of one part, and what it takes to write it."""
    zoo = settings.zoos[wildcards.zoo]
    return 3 * weights_mb(settings, wildcards.zoo, zoo.stack_size, len(stored_epochs(settings, wildcards.zoo)))


def shard_mb(wildcards):
    """Weights of one shard."""
    zoo = settings.zoos[wildcards.zoo]
    num_models = -(-zoo.num_models // zoo.num_shards)
    return weights_mb(settings, wildcards.zoo, num_models, len(stored_epochs(settings, wildcards.zoo)))


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
