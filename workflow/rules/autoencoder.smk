"""Autoencoders over the weights of zoos: train, evaluate."""


rule train_autoencoder:
    input:
        images=lambda w: image_files_of_zoos(settings.autoencoders[w.autoencoder]),
        weights=lambda w: files_of_zoos(settings.autoencoders[w.autoencoder], "weights.safetensors"),
        parts=lambda w: [part for zoo in settings.autoencoders[w.autoencoder].zoos for part in parts_of(zoo)],
        models=lambda w: files_of_zoos(settings.autoencoders[w.autoencoder], "models.parquet"),
        orders=lambda w: orders_of_zoos(settings.autoencoders[w.autoencoder]),
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
        autoencoder=lambda w: settings.autoencoders[w.autoencoder].model_dump(mode="json", exclude={"seeds", "probes"}),
        images=lambda w: images_of_zoos(settings.autoencoders[w.autoencoder]),
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
        orders=rules.train_autoencoder.input.orders,
        model=rules.train_autoencoder.output.model,
    output:
        metrics="<results>/autoencoder/{autoencoder}/seed-{seed}/metrics.parquet",
        embeddings="<results>/autoencoder/{autoencoder}/seed-{seed}/embeddings.parquet",
    log:
        "<logs>/evaluate_autoencoder/{autoencoder}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/evaluate_autoencoder/{autoencoder}-{seed}.tsv"
    resources:
        mem_mb=mem_scaled(2500, lambda w: read_mb(settings.autoencoders[w.autoencoder])),
        runtime=60,
        device=settings.device,
    params:
        images=rules.train_autoencoder.params.images,
        probes=lambda w: settings.autoencoders[w.autoencoder].probes.model_dump(mode="json"),
        scenario=SCENARIO,
        version=VERSION["evaluation"],
    script:
        "../scripts/evaluate_autoencoder.py"


rule evaluate_baseline:
    input:
        images=lambda w: image_files_of_zoos(settings.baselines[w.baseline]),
        weights=lambda w: files_of_zoos(settings.baselines[w.baseline], "weights.safetensors"),
        parts=lambda w: [part for zoo in settings.baselines[w.baseline].zoos for part in parts_of(zoo)],
        models=lambda w: files_of_zoos(settings.baselines[w.baseline], "models.parquet"),
        orders=lambda w: orders_of_zoos(settings.baselines[w.baseline]),
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
        images=lambda w: images_of_zoos(settings.baselines[w.baseline]),
        scenario=SCENARIO,
        version=VERSION["evaluation"],
    script:
        "../scripts/evaluate_baseline.py"
