"""Zoos: train them in shards and join these, or import what exists; measure, order, align. Weights stay in place."""


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
    wildcard_constraints:
        zoo=one_of(zoos_from("trained")),
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
        parts=directory("<results>/zoo/{zoo}/shards/0"),
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


rule measure_zoo:
    input:
        images=lambda w: f"<results>/images/{settings.zoos[w.zoo].images}.safetensors",
        weights="<results>/zoo/{zoo}/weights.safetensors",
        parts=lambda w: parts_of(w.zoo),
    output:
        properties="<results>/zoo/{zoo}/properties.parquet",
    log:
        "<logs>/measure_zoo/{zoo}.log",
    benchmark:
        "<benchmarks>/measure_zoo/{zoo}.tsv"
    resources:
        mem_mb=mem_scaled(2500),
        runtime=60,
        device=settings.device,
    params:
        measured=lambda w: settings.zoos[w.zoo].measured,
        version=VERSION["properties"],
    script:
        "../scripts/measure_zoo.py"


rule order_units:
    input:
        weights="<results>/zoo/{zoo}/weights.safetensors",
        parts=lambda w: parts_of(w.zoo),
        models="<results>/zoo/{zoo}/models.parquet",
    output:
        orders="<results>/zoo/{zoo}/unit_orders.safetensors",
    log:
        "<logs>/order_units/{zoo}.log",
    benchmark:
        "<benchmarks>/order_units/{zoo}.tsv"
    resources:
        mem_mb=mem_scaled(4000),
        runtime=training_minutes,
    params:
        version=VERSION["alignment"],
    script:
        "../scripts/order_units.py"


rule align_zoo:
    input:
        images=lambda w: f"<results>/images/{settings.zoos[settings.alignments[w.alignment].zoo].images}.safetensors",
        weights=lambda w: f"<results>/zoo/{settings.alignments[w.alignment].zoo}/weights.safetensors",
        parts=lambda w: parts_of(settings.alignments[w.alignment].zoo),
        models=lambda w: f"<results>/zoo/{settings.alignments[w.alignment].zoo}/models.parquet",
    output:
        metrics="<results>/alignment/{alignment}/metrics.parquet",
    log:
        "<logs>/align_zoo/{alignment}.log",
    benchmark:
        "<benchmarks>/align_zoo/{alignment}.tsv"
    resources:
        mem_mb=mem_scaled(2500),
        runtime=60,
        device=settings.device,
    params:
        alignment=lambda w: settings.alignments[w.alignment].model_dump(mode="json"),
        scenario=SCENARIO,
        version=VERSION["alignment"],
    script:
        "../scripts/align_zoo.py"
