"""Predictors: order kernels of networks, train networks that hold their weights, decode and measure; controls."""


rule order_kernels:
    input:
        weights="<results>/zoo/{zoo}/weights.safetensors",
        parts=lambda w: parts_of(w.zoo),
    output:
        order="<results>/zoo/{zoo}/orders/{order}.safetensors",
    log:
        "<logs>/order_kernels/{zoo}-{order}.log",
    benchmark:
        "<benchmarks>/order_kernels/{zoo}-{order}.tsv"
    wildcard_constraints:
        order=one_of(sorted({cell.order_name for cell in settings.predictors.values()})),
    resources:
        mem_mb=mem_scaled(2000),
        runtime=240,
    params:
        ordering=lambda w: settings.ordering_of(w.zoo, w.order),
        version=VERSION["predictor"],
    script:
        "../scripts/order_kernels.py"


rule train_predictors:
    input:
        orders=lambda w: [order_file(name) for name in settings.cells_in_stack(w.predictor)],
        weights=lambda w: [
            f"<results>/zoo/{cell.zoo}/weights.safetensors" for cell in settings.cells_in_stack(w.predictor).values()
        ],
        images=lambda w: files_named(
            "<results>/images/{}.safetensors",
            settings.predictors[w.predictor].distillation and settings.zoos[settings.predictors[w.predictor].zoo],
            "images",
        ),
        teacher=lambda w: files_named(
            "<results>/zoo/{}/weights.safetensors", settings.predictors[w.predictor].distillation, "teacher"
        ),
        parts=lambda w: parts_named(*settings.cells_in_stack(w.predictor).values(), settings.predictors[w.predictor].distillation),
    output:
        predictors="<results>/predictor/{predictor}/predictors.safetensors",
    log:
        "<logs>/train_predictors/{predictor}.log",
    benchmark:
        "<benchmarks>/train_predictors/{predictor}.tsv"
    wildcard_constraints:
        predictor=one_of([name for name, cell in settings.predictors.items() if cell.stack is None]),
    resources:
        mem_mb=mem_scaled(3000),
        runtime=training_minutes,
        gpu=GPUS,
        device=settings.device,
    params:
        predictors=lambda w: {name: cell.model_dump(mode="json") for name, cell in settings.cells_in_stack(w.predictor).items()},
        version=VERSION["predictor"],
    script:
        "../scripts/train_predictors.py"


rule evaluate_predictors:
    input:
        order=lambda w: order_file(w.predictor),
        weights=lambda w: f"<results>/zoo/{settings.predictors[w.predictor].zoo}/weights.safetensors",
        parts=lambda w: parts_named(settings.predictors[w.predictor]),
        images=lambda w: f"<results>/images/{settings.zoos[settings.predictors[w.predictor].zoo].images}.safetensors",
        predictors=lambda w: f"<results>/predictor/{settings.stack_of(w.predictor)}/predictors.safetensors",
    output:
        artifacts=directory("<results>/predictor/{predictor}/seed-{seed}/artifacts"),
        metrics="<results>/predictor/{predictor}/seed-{seed}/metrics.parquet",
        kernels="<results>/predictor/{predictor}/seed-{seed}/kernels.parquet",
        spectra="<results>/predictor/{predictor}/seed-{seed}/spectra.parquet",
    log:
        "<logs>/evaluate_predictors/{predictor}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/evaluate_predictors/{predictor}-{seed}.tsv"
    resources:
        mem_mb=mem_scaled(3000),
        runtime=60,
        device=settings.device,
    params:
        predictor=lambda w: settings.predictors[w.predictor].model_dump(mode="json", exclude={"seeds"}),
        scenario=SCENARIO,
        version=VERSION["predictor"],
    script:
        "../scripts/evaluate_predictors.py"


rule evaluate_predictor_control:
    input:
        order=lambda w: order_file(predictor_of(w)),
        weights=lambda w: f"<results>/zoo/{settings.predictors[predictor_of(w)].zoo}/weights.safetensors",
        images=lambda w: f"<results>/images/{settings.zoos[settings.predictors[predictor_of(w)].zoo].images}.safetensors",
        teacher=lambda w: files_named(
            "<results>/zoo/{}/weights.safetensors", settings.predictor_controls[w.predictor_control], "teacher"
        ),
        parts=lambda w: parts_named(settings.predictors[predictor_of(w)], settings.predictor_controls[w.predictor_control]),
        # A folder, of which Snakemake compares dates alone; the rows beside it change with it.
        artifacts=lambda w: ancient(f"<results>/predictor/{predictor_of(w)}/seed-{w.seed}/artifacts"),
        measured=lambda w: f"<results>/predictor/{predictor_of(w)}/seed-{w.seed}/metrics.parquet",
    output:
        metrics="<results>/predictor_control/{predictor_control}/seed-{seed}/metrics.parquet",
    log:
        "<logs>/evaluate_predictor_control/{predictor_control}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/evaluate_predictor_control/{predictor_control}-{seed}.tsv"
    resources:
        mem_mb=mem_scaled(3000),
        runtime=training_minutes,
        gpu=GPUS,
        device=settings.device,
    params:
        control=lambda w: settings.predictor_controls[w.predictor_control].model_dump(mode="json", exclude={"seeds"}),
        predictor=lambda w: settings.predictors[predictor_of(w)].model_dump(mode="json", exclude={"seeds"}),
        recipe=lambda w: settings.small_recipe(w.predictor_control),
        scenario=SCENARIO,
        version=VERSION["predictor"],
    script:
        "../scripts/evaluate_predictor_control.py"
