"""What rows of controls on generated networks measure."""

from weightspace.generation.frontier import FRONTS
from weightspace.generation.verdict import NEW_FROM, PERCENTILE, VERDICTS
from weightspace.table import ANY, OF_IMAGES, POSITIVE, SHARE, SIGNED, Metric

OF_NETWORKS = [
    Metric("run", "place", ANY, "neither", "in train, of the model that a network is made from; below 0: of none, or of several"),
    Metric("distance_train_plain", "weight", POSITIVE, "neither", "to the nearest train network, units as they are"),
    Metric(
        "distance_train", "weight", POSITIVE, "higher", "to the nearest train network, units permuted to match", tolerance=0.01
    ),
    Metric(
        "distance_other_run", "weight", POSITIVE, "neither", "the same, the network that it is made from left out",
        tolerance=0.01,
    ),
    Metric(
        "distance_train_canonical", "weight", POSITIVE, "neither",
        "the same of networks whose units' scales or signs are canonical, none left out", tolerance=0.01,
    ),
    Metric(
        "distance_reconstructed", "weight", POSITIVE, "neither", "to the nearest decoded code of a train network, units permuted",
        tolerance=0.01,
    ),
    Metric(
        "similarity", "fraction", SHARE, "lower",
        "test images that a network and a train network get wrong over those that one of them does, where that is most",
        **OF_IMAGES,
    ),
    Metric("similarity_class", "fraction", SHARE, "lower", "the same of images that both give the same wrong class", **OF_IMAGES),
    Metric(
        "accuracy_judged", "fraction", SHARE, "higher",
        "share of right answers on test images of what is judged: before fine-tuning, of networks from scratch after training",
        **OF_IMAGES,
    ),
    Metric("similarity_tuned", "fraction", SHARE, "lower", "similarity after fine-tuning", **OF_IMAGES),
    Metric("accuracy_tuned", "fraction", SHARE, "higher", "accuracy after fine-tuning", **OF_IMAGES),
    Metric("accuracy_nearest", "fraction", SHARE, "neither", "accuracy of the nearest train network, units matched", **OF_IMAGES),
    Metric(
        "disagreement", "fraction", SHARE, "higher", "share of test images that another network of the set answers otherwise",
        **OF_IMAGES,
    ),
    Metric(
        "ensemble_gain", "fraction", SIGNED, "higher",
        "accuracy of the majority of 16 networks, or of a quarter of the smallest set, above the mean of theirs; by ensemble",
        **OF_IMAGES,
    ),
]  # fmt: skip
OF_SETS = [
    Metric(
        "u_share", "fraction", SHARE, "neither",
        "pairs of a network and a held-out one of which the first is farther from its nearest train network: U / (m n)",
        **OF_IMAGES,
    ),
    Metric("u_share_low", "fraction", SHARE, "neither", "low end of its 95 % interval over runs", **OF_IMAGES),
    Metric("u_share_high", "fraction", SHARE, "neither", "high end", **OF_IMAGES),
    Metric("z_u", "deviations", ANY, "neither", "U / (m n) in deviations of chance", tolerance=0.1, mean_tolerance=0.1),
    Metric("z_u_floor", "deviations", ANY, "neither", "what that is if every network is nearer than every held-out one"),
    Metric(
        "similarity_over_percentile", "fraction", SIGNED, "lower",
        f"median similarity of mistakes at matched accuracy above the {PERCENTILE:.0%} quantile of held-out networks'",
        **OF_IMAGES,
    ),
    Metric("similarity_over_median", "fraction", SIGNED, "lower", "the same above their median", **OF_IMAGES),
    Metric("attribution_slope", "fraction", ANY, "neither", "of accuracy over that of the nearest train network", tolerance=0.1),
    Metric("attribution_r2", "fraction", SHARE, "neither", "of that line; 1 with slope 1: copies", tolerance=0.1),
    *(
        Metric(
            f"gap{tuned}_{front.lower()}", "fraction", SIGNED, "higher",
            f"accuracy at equal similarity above {'noise' if front == 'noise' else f'noise and {front}'}{when}",
            **OF_IMAGES,
        )
        for tuned, when in (("", ""), ("_tuned", ", after fine-tuning"))
        for front in FRONTS
    ),
    Metric(
        "verdict", "index", (0.0, len(VERDICTS) - 1.0), "neither",
        f"{', '.join(f'{n}: {word}' for n, word in enumerate(VERDICTS))}; generalizing needs U / (m n) from {NEW_FROM}",
    ),
]  # fmt: skip
PAIRS = {
    "permuted": "of reconstructions of a train network and of its copy with permuted units",
    "rescaled": "of reconstructions of a train network and of its copy with other scales or signs of units",
    "different": "of two train networks, as they are",
}
SPLITS = {"train": "train networks", "held_out": "held-out networks"}
OF_CODES = [
    *(
        Metric(f"symmetry_{measure}_{name}", "fraction", SHARE, "lower", f"{what} {said}", **OF_IMAGES)
        for name, said in PAIRS.items()
        for measure, what in (("accuracy", "absolute difference of accuracy"), ("mistakes", "1 minus similarity of mistakes"))
    ),
    *(
        Metric(f"reconstruction_{measure}_{split}", "fraction", SHARE, "higher", f"{what} {networks}", **OF_IMAGES)
        for split, networks in SPLITS.items()
        for measure, what in (("accuracy", "of decoded codes of"), ("similarity", "of mistakes of decoded codes to those of"))
    ),
    *(
        Metric(
            f"reconstruction_distance_{split}", "weight", POSITIVE, "lower", f"of decoded codes to their originals, {networks}"
        )
        for split, networks in SPLITS.items()
    ),
]
CONTROLS = [
    *OF_NETWORKS,
    *(each._replace(name=f"{each.name}_held_out", meaning=f"{each.meaning}; of held-out networks") for each in OF_NETWORKS),
    *OF_SETS,
    *OF_CODES,
]
