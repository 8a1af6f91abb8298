"""A grid's record that was made by hand: every kind of defence and every state, two seeds, and hostile names."""

import dataclasses

from mantrap.ops.intervals import paired_difference, wilson
from mantrap.ops.roc import area_under
from mantrap.records import (
    AttackMeasure,
    CellState,
    DefenceKind,
    GridArea,
    GridCell,
    GridDetected,
    GridGuarded,
    GridModel,
    GridPlan,
    GridRecord,
    GridRepaired,
    GridScreened,
    GridVolatile,
    StageCost,
    Stealth,
    Verdict,
)

DATA, NET, ATTACK = "=cmd|' /C calc'!A0 <b>signs</b>\u202e", "mlp", "badnets(target=1)"
AREA = area_under([3, 4, 5], [1, 2, 3])
SOME = wilson(45, 50)


def measure(target, hits):
    return AttackMeasure(
        trigger="patch",
        relabelling=f"all_to_one(target={target})",
        target=target,
        success=wilson(hits, 50),
        robust_accuracy=wilson(5, 50),
        clean_model_success=wilson(1, 50),
        bystanders=None,
        stealth=Stealth(images=5, ssim=1.0, psnr=None, largest_change=1.0, l2=1.0),
    )


def model(attack, seed, **changes):
    measures = () if attack == "clean" else (measure(1, 40 + seed), measure(2, 30))
    plain = GridModel(
        data=DATA,
        model=NET,
        attack=attack,
        seed=seed,
        state=CellState.DONE,
        file="work/models/x.safetensors",
        sha256=f"{seed}" * 64,
        accuracy=wilson(90 + seed, 100),
        measures=measures,
        works=attack != "clean",
    )
    return dataclasses.replace(plain, **changes)


def cell(attack, kind, defence, seed, **found):
    plain = GridCell(
        data=DATA, model=NET, attack=attack, defence=defence, defends=DefenceKind(kind), seed=seed, state=CellState.DONE
    )
    cost = (StageCost(stage="search", forward=1000, backward=200), StageCost(stage="measure", forward=34, backward=0))
    return dataclasses.replace(plain, **{"cost": cost, **found})


def detected(verdict, p_value, first=1, suspects=(1,)):
    return {"detected": GridDetected(verdict=verdict, p_value=p_value, first=first, suspects=suspects)}


def repaired(after):
    changed = paired_difference(both=88, first=1, second=2, neither=9)
    return {
        "repaired": GridRepaired(
            accuracy=changed,
            before=(wilson(40, 50), wilson(30, 50)),
            after=(wilson(1, 50), wilson(after, 50)),
            control="fine_tuning",
            control_accuracy=changed,
            control_after=(wilson(35, 50), wilson(20, 50)),
            notes=(),
        )
    }


def guarded(missed):
    found = GridGuarded(
        false_positives=wilson(3, 60), missed=(wilson(1, 40), missed), areas=(AREA, area_under([9], [1])), notes=()
    )
    return {"guarded": found}


def record(**changes):
    """The record; changes are of its fields."""
    failed = {"state": CellState.FAILED, "failure": "expected <i>finite</i>, got nan\u202e", "cost": ()}
    cells = (
        cell("clean", "detector", "audit", 0, **detected(Verdict.NO_EVIDENCE, 0.8, 3, ())),
        cell("clean", "detector", "audit", 1, **detected(Verdict.SUSPICIOUS, 0.001, 0, (0,))),
        cell(ATTACK, "detector", "audit", 0, **detected(Verdict.SUSPICIOUS, 2.5e-5)),
        cell(ATTACK, "detector", "audit", 1, **detected(Verdict.INCONCLUSIVE, 0.04, 2, (3,))),
        cell(ATTACK, "guard", "strip", 0, **guarded(wilson(20, 40))),
        cell(ATTACK, "guard", "strip", 1, **guarded(None)),
        cell(ATTACK, "repair", "unlearning", 0, **repaired(5)),
        cell(ATTACK, "repair", "unlearning", 1, state=CellState.UNTRIED, untried="nothing was recovered", cost=()),
        cell(ATTACK, "screen", "scan", 0, **failed),
        cell(
            ATTACK,
            "screen",
            "scan",
            1,
            screened=GridScreened(caught=wilson(18, 20), spoilt=wilson(2, 100), area=AREA, suspects=(1,), notes=()),
        ),
        cell("clean", "screen", "scan", 0, state=CellState.NOT_RUN, cost=()),
    )
    plain = GridRecord(
        plan=GridPlan(
            data=(DATA,),
            models=(NET,),
            attacks=(ATTACK,),
            detectors=("audit",),
            guards=("strip",),
            repairs=("unlearning",),
            screens=("scan",),
            seeds=(0, 1),
            recipe="recipe",
            retraining="recipe(epochs=25)",
            training_images=None,
            defender_images=500,
            triggers="neural_cleanse",
            fpr=0.05,
            test_images=1000,
        ),
        models=tuple(model(attack, seed) for attack in ("clean", ATTACK) for seed in (0, 1)),
        cells=cells,
        areas=(GridArea(data=DATA, model=NET, attack=ATTACK, defence="audit", area=AREA),),
        images={f"{DATA}/s0 training": "ab" * 32},
        versions={"torch": "2.13"},
        command="mantrap benchmark grid.toml --out grid",
        volatile=GridVolatile(started="2026-01-01", machine="Linux", cpu_seconds={cells[0].name: 1234.56}),
    )
    return dataclasses.replace(plain, **changes)
