"""Recovery: train students, cluster and rebuild, compare; baselines."""


include: "teachers.smk"


rule train_students:
    input:
        queries=rules.ask_teachers.output.queries,
    output:
        students="<results>/recovery/{recovery}/seed-{seed}/students.safetensors",
    log:
        "<logs>/train_students/{recovery}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/train_students/{recovery}-{seed}.tsv"
    resources:
        mem_mb=mem_scaled(3000),
        runtime=training_minutes,
        gpu=GPUS,
        device=settings.device,
    params:
        students=lambda w: settings.recoveries[w.recovery].students.model_dump(mode="json"),
        version=VERSION["recovery"],
    script:
        "../scripts/train_students.py"


rule recover_networks:
    input:
        queries=rules.ask_teachers.output.queries,
        students=rules.train_students.output.students,
        mask=lambda w: collect("<results>/mask/{images}.safetensors", images=settings.masks_of(w.recovery)),
    output:
        networks="<results>/recovery/{recovery}/seed-{seed}/networks.safetensors",
        merges="<results>/recovery/{recovery}/seed-{seed}/merges.parquet",
    log:
        "<logs>/recover_networks/{recovery}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/recover_networks/{recovery}-{seed}.tsv"
    resources:
        mem_mb=mem_scaled(3000),
        runtime=training_minutes,
    params:
        recovery=lambda w: settings.recoveries[w.recovery].model_dump(mode="json", exclude={"seeds"}),
        scenario=SCENARIO,
        version=VERSION["recovery"],
    script:
        "../scripts/recover_networks.py"


rule compare_recovery:
    input:
        queries=rules.ask_teachers.output.queries,
        teachers=rules.ask_teachers.input.teachers,
        students=rules.train_students.output.students,
        networks=rules.recover_networks.output.networks,
    output:
        metrics="<results>/recovery/{recovery}/seed-{seed}/metrics.parquet",
        neurons="<results>/recovery/{recovery}/seed-{seed}/neurons.parquet",
    log:
        "<logs>/compare_recovery/{recovery}/seed-{seed}.log",
    benchmark:
        "<benchmarks>/compare_recovery/{recovery}-{seed}.tsv"
    resources:
        mem_mb=mem_scaled(2000),
        runtime=30,
    params:
        outputs=lambda w: settings.recoveries[w.recovery].outputs,
        scenario=SCENARIO,
        version=VERSION["recovery"],
    script:
        "../scripts/compare_recovery.py"


rule evaluate_recovery_baseline:
    input:
        queries=lambda w: "<results>/recovery/{}/seed-{}/queries.safetensors".format(*settings.first_seed_of(w.recovery_baseline)),
        students=lambda w: "<results>/recovery/{}/seed-{}/students.safetensors".format(
            *settings.first_seed_of(w.recovery_baseline)
        ),
        teachers=lambda w: f"<results>/teacher/{settings.recovery_of_baseline(w.recovery_baseline).teacher}/teachers.safetensors",
    output:
        metrics="<results>/recovery_baseline/{recovery_baseline}/metrics.parquet",
    log:
        "<logs>/evaluate_recovery_baseline/{recovery_baseline}.log",
    benchmark:
        "<benchmarks>/evaluate_recovery_baseline/{recovery_baseline}.tsv"
    resources:
        mem_mb=mem_scaled(3000),
        runtime=training_minutes,
        gpu=GPUS,
        device=settings.device,
    params:
        baseline=lambda w: settings.recovery_baselines[w.recovery_baseline].model_dump(mode="json"),
        recovery=lambda w: settings.recovery_of_baseline(w.recovery_baseline).model_dump(mode="json", exclude={"seeds"}),
        seed=lambda w: settings.first_seed_of(w.recovery_baseline)[1],
        scenario=SCENARIO,
        version=VERSION["recovery"],
    script:
        "../scripts/evaluate_recovery_baseline.py"
