"""Image sets."""


rule fetch_images:
    input:
        image_files_checked,
    output:
        images="<results>/images/{images}.safetensors",
    log:
        "<logs>/fetch_images/{images}.log",
    benchmark:
        "<benchmarks>/fetch_images/{images}.tsv"
    resources:
        mem_mb=mem_scaled(2000),
        runtime=30,
    params:
        images=lambda w: settings.images[w.images].model_dump(mode="json"),
        images_dir=lambda w: "" if settings.images[w.images].source == "bundled_digits" else options.images_dir,
        version=VERSION["images"],
    script:
        "../scripts/fetch_images.py"
