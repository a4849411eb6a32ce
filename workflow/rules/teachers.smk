"""Networks to recover: make them, ask them."""


rule make_teachers:
    input:
        images=lambda w: files_named("<results>/images/{}.safetensors", settings.zoo_of(settings.teachers[w.teacher]), "images"),
        zoo=lambda w: files_named("<results>/zoo/{}/weights.safetensors", settings.teachers[w.teacher], "zoo"),
        parts=lambda w: parts_named(settings.teachers[w.teacher]),
    output:
        teachers="<results>/teacher/{teacher}/teachers.safetensors",
    log:
        "<logs>/make_teachers/{teacher}.log",
    benchmark:
        "<benchmarks>/make_teachers/{teacher}.tsv"
    resources:
        mem_mb=mem_scaled(2000),
        runtime=30,
        device=settings.device,
    params:
        teacher=lambda w: settings.teachers[w.teacher].model_dump(mode="json"),
        version=VERSION["recovery"],
    script:
        "../scripts/make_teachers.py"


rule ask_teachers:
    input:
        images=lambda w: files_named("<results>/images/{}.safetensors", settings.recoveries[w.recovery].queries, "images"),
        own=lambda w: files_named("<results>/images/{}.safetensors", settings.zoo_of(settings.teacher_of(w.recovery)), "images"),
        teachers=lambda w: f"<results>/teacher/{settings.recoveries[w.recovery].teacher}/teachers.safetensors",
        black_box=lambda w: files_named("{}", settings.teacher_of(w.recovery), "path"),
    output:
        queries="<results>/recovery/{recovery}/seed-{seed}/queries.safetensors",
    log:
        "<logs>/ask_teachers/{recovery}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/ask_teachers/{recovery}-{seed}.tsv"
    resources:
        mem_mb=mem_scaled(2500),
        runtime=30,
    params:
        queries=lambda w: settings.recoveries[w.recovery].queries.model_dump(mode="json"),
        outputs=lambda w: settings.recoveries[w.recovery].outputs,
        teacher=lambda w: settings.teacher_of(w.recovery).model_dump(mode="json"),
        version=VERSION["recovery"],
    script:
        "../scripts/ask_teachers.py"


rule mask_pixels:
    input:
        images="<results>/images/{images}.safetensors",
    output:
        mask="<results>/mask/{images}.safetensors",
    log:
        "<logs>/mask_pixels/{images}.log",
    benchmark:
        "<benchmarks>/mask_pixels/{images}.tsv"
    resources:
        mem_mb=mem_scaled(4000),
        runtime=training_minutes,
    params:
        version=VERSION["recovery"],
    script:
        "../scripts/mask_pixels.py"
