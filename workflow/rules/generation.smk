"""New networks from the code of an autoencoder, fine-tuned and measured beside their rivals."""


rule generate_networks:
    input:
        images=lambda w: image_files_of_zoos(coder(w)),
        weights=lambda w: files_of_zoos(coder(w), "weights.safetensors"),
        parts=lambda w: [part for zoo in coder(w).zoos for part in parts_of(zoo)],
        models=lambda w: files_of_zoos(coder(w), "models.parquet"),
        orders=lambda w: orders_of_zoos(coder(w)),
        model=lambda w: f"<results>/autoencoder/{settings.generations[w.generation].autoencoder}/seed-{w.seed}/model.safetensors",
    output:
        networks="<results>/generation/{generation}/seed-{seed}/weights.safetensors",
        parts=directory("<results>/generation/{generation}/seed-{seed}/networks"),
        models="<results>/generation/{generation}/seed-{seed}/models.parquet",
        metrics="<results>/generation/{generation}/seed-{seed}/metrics.parquet",
    log:
        "<logs>/generate_networks/{generation}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/generate_networks/{generation}-{seed}.tsv"
    resources:
        mem_mb=mem_scaled(2500, lambda w: read_mb(coder(w))),
        runtime=training_minutes,
        gpu=GPUS,
        device=settings.device,
    params:
        generation=lambda w: settings.generations[w.generation].model_dump(mode="json", exclude={"seeds"}),
        images=lambda w: images_of_zoos(coder(w)),
        scenario=SCENARIO,
        version=VERSION["generation"],
    script:
        "../scripts/generate_networks.py"
