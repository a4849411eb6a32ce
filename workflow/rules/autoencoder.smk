"""Autoencoders over the weights of a zoo: train, evaluate."""


rule train_autoencoder:
    input:
        images=lambda w: files_named(
            "<results>/images/{}.safetensors", settings.zoos[settings.autoencoders[w.autoencoder].zoo], "images"
        ),
        weights=lambda w: f"<results>/zoo/{settings.autoencoders[w.autoencoder].zoo}/weights.safetensors",
        parts=lambda w: parts_of(settings.autoencoders[w.autoencoder].zoo),
        models=lambda w: f"<results>/zoo/{settings.autoencoders[w.autoencoder].zoo}/models.parquet",
    output:
        model="<results>/autoencoder/{autoencoder}/seed-{seed}/model.safetensors",
        metrics="<results>/autoencoder/{autoencoder}/seed-{seed}/losses.parquet",
    log:
        "<logs>/train_autoencoder/{autoencoder}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/train_autoencoder/{autoencoder}-{seed}.tsv"
    resources:
        mem_mb=mem_scaled(2500, lambda w: read_mb(settings.autoencoders[w.autoencoder])),
        runtime=training_minutes,
        gpu=GPUS,
        device=settings.device,
    params:
        autoencoder=lambda w: settings.autoencoders[w.autoencoder].model_dump(mode="json", exclude={"seeds"}),
        scenario=SCENARIO,
        version=VERSION["autoencoder"],
    script:
        "../scripts/train_autoencoder.py"


rule evaluate_autoencoder:
    input:
        images=rules.train_autoencoder.input.images,
        weights=rules.train_autoencoder.input.weights,
        parts=rules.train_autoencoder.input.parts,
        models=rules.train_autoencoder.input.models,
        model=rules.train_autoencoder.output.model,
    output:
        metrics="<results>/autoencoder/{autoencoder}/seed-{seed}/metrics.parquet",
    log:
        "<logs>/evaluate_autoencoder/{autoencoder}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/evaluate_autoencoder/{autoencoder}-{seed}.tsv"
    resources:
        mem_mb=mem_scaled(2500, lambda w: read_mb(settings.autoencoders[w.autoencoder])),
        runtime=60,
        device=settings.device,
    params:
        scenario=SCENARIO,
        version=VERSION["evaluation"],
    script:
        "../scripts/evaluate_autoencoder.py"


rule evaluate_baseline:
    input:
        images=lambda w: files_named(
            "<results>/images/{}.safetensors", settings.zoos[settings.baselines[w.baseline].zoo], "images"
        ),
        weights=lambda w: f"<results>/zoo/{settings.baselines[w.baseline].zoo}/weights.safetensors",
        parts=lambda w: parts_of(settings.baselines[w.baseline].zoo),
        models=lambda w: f"<results>/zoo/{settings.baselines[w.baseline].zoo}/models.parquet",
    output:
        metrics="<results>/baseline/{baseline}/metrics.parquet",
    log:
        "<logs>/evaluate_baseline/{baseline}.log",
    benchmark:
        "<benchmarks>/evaluate_baseline/{baseline}.tsv"
    resources:
        mem_mb=mem_scaled(2500, lambda w: read_mb(settings.baselines[w.baseline])),
        runtime=60,
        device=settings.device,
    params:
        baseline=lambda w: settings.baselines[w.baseline].model_dump(mode="json"),
        scenario=SCENARIO,
        version=VERSION["evaluation"],
    script:
        "../scripts/evaluate_baseline.py"
