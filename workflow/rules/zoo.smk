"""Zoos: train them in shards, join the shards, measure; or import what exists."""


rule train_zoo:
    input:
        images=lambda w: f"<results>/images/{settings.zoos[w.zoo].images}.safetensors",
    output:
        weights="<results>/zoo/{zoo}/shards/{shard}.safetensors",
        models="<results>/zoo/{zoo}/shards/{shard}.parquet",
    log:
        "<logs>/train_zoo/{zoo}/{shard}.log",
    benchmark:
        "<benchmarks>/train_zoo/{zoo}-{shard}.tsv"
    resources:
        mem_mb=mem_scaled(2000),
        runtime=training_minutes,
        gpu=GPUS,
        device=settings.device,
    params:
        zoo=lambda w: settings.zoos[w.zoo].model_dump(mode="json"),
        version=VERSION["zoo"],
    script:
        "../scripts/train_zoo.py"


rule join_zoo:
    input:
        weights=lambda w: collect(
            "<results>/zoo/{zoo}/shards/{shard}.safetensors", zoo=w.zoo, shard=range(settings.zoos[w.zoo].num_shards)
        ),
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
    wildcard_constraints:
        zoo=one_of(zoos_from("trained")),
    resources:
        mem_mb=mem_scaled(2000),
        runtime=10,
    params:
        scenario=SCENARIO,
        version=VERSION["zoo"],
    script:
        "../scripts/join_zoo.py"


rule import_zoo:
    input:
        checkpoints_checked,
        images=lambda w: files_named("<results>/images/{}.safetensors", settings.zoos[w.zoo], "images"),
    output:
        weights="<results>/zoo/{zoo}/weights.safetensors",
        models="<results>/zoo/{zoo}/models.parquet",
        metrics="<results>/zoo/{zoo}/metrics.parquet",
        dropped="<results>/zoo/{zoo}/dropped.parquet",
    log:
        "<logs>/import_zoo/{zoo}.log",
    benchmark:
        "<benchmarks>/import_zoo/{zoo}.tsv"
    wildcard_constraints:
        zoo=one_of(zoos_from("checkpoints")),
    resources:
        mem_mb=mem_scaled(2000),
        runtime=training_minutes,
        device=settings.device,
    params:
        zoo=lambda w: settings.zoos[w.zoo].model_dump(mode="json"),
        files=lambda w: files_digest(settings.zoos[w.zoo].path),
        scenario=SCENARIO,
        version=VERSION["zoo"],
    script:
        "../scripts/import_zoo.py"
