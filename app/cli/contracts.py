"""``veriregime contracts …``: put the contracts on a chain, and look over those that are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.terminal import JsonFlag, examples, print_json, read_settings, say
from app.errors import Misconfigured

if TYPE_CHECKING:
    from app.chain.account import Account
    from app.chain.build import Build
    from app.chain.deploying import Preview, Terms
    from app.chain.deployment import Deployment, ModelPlan, Parameters
    from app.chain.rpc import Rpc
    from app.chain.status import Finding
    from app.settings import Settings

contracts = typer.Typer(help="Put the contracts on a chain, and look over those that are there.", no_args_is_help=True)

_ETHER = 10**18


@contracts.command(
    epilog=examples("veriregime contracts deploy --dry-run", "veriregime contracts deploy --signer 0x… --signer 0x…")
)
def deploy(
    feeds: Annotated[
        str | None, typer.Option(help="Comma separated, instead of VERIREGIME_FEEDS: each gets a VolatilityFeed.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Who changes models and attesters; by default who deploys.")
    ] = None,
    signer: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="An attester; repeatable. By default that of VERIREGIME_ATTESTER_KEY."),
    ] = None,
    threshold: Annotated[int | None, typer.Option(help="Attesters who must sign; by default a majority.")] = None,
    delay: Annotated[
        int | None,
        typer.Option(min=0, help="Seconds that changes wait for; two days by default, none on a local chain."),
    ] = None,
    submission_limit: Annotated[
        int | None, typer.Option(min=1, help="Seconds after its end that a window can be published. By default 900.")
    ] = None,
    max_skew: Annotated[
        int | None, typer.Option(min=0, help="Seconds that a window may end after the chain's clock. By default 30.")
    ] = None,
    default_max_age: Annotated[
        int | None, typer.Option(min=1, help="Seconds after which `latestForecast` reverts. By default 7200.")
    ] = None,
    feed_max_age: Annotated[
        int | None, typer.Option(min=1, help="The same of each VolatilityFeed. By default 7200.")
    ] = None,
    salt: Annotated[
        str | None, typer.Option(help="Any words: other addresses for the same contracts and parameters.")
    ] = None,
    reserve: Annotated[
        int, typer.Option(min=0, max=256, help="Rounds of each feed whose storage is paid ahead.")
    ] = 256,
    anew: Annotated[
        bool, typer.Option("--anew", help="Leave the recorded deployment to itself and make another.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Put on the chain what is not there yet: contracts, models, feeds, storage.

    Needs VERIREGIME_RPC_URLS and VERIREGIME_SUBMITTER_KEY_FILE. Says what it may cost and stops when the account has
    less. Run it again after an interruption, or for a newer model: what is there is left as it is. See
    docs/deploying.md.
    """
    from app.chain import deploying
    from app.chain.deployment import DeploymentPlan
    from app.progress import watched

    settings = read_settings()
    rpc, account = _chain(settings)
    given = {
        "owner": owner,
        "signers": tuple(signer) if signer else None,
        "threshold": threshold,
        "delay": delay,
        "submission_limit": submission_limit,
        "max_skew": max_skew,
        "default_max_age": default_max_age,
        "feed_max_age": feed_max_age,
        "salt": salt,
    }
    names = _feeds(feeds, settings)
    parameters = _parameters(settings, rpc, account, given, anew)
    with watched("contracts deploy") as step:
        plan = DeploymentPlan(parameters, _models(settings, names, step), names, reserve)
        asked = (rpc, account, plan, _compiled(settings, step), settings.deployments, _terms(settings, anew))
        step("looking at what is on the chain")
        if dry_run or settings.dry_run:
            found = deploying.preview(*asked)
        else:
            step("sending what is not there yet")
            made = deploying.deploy(*asked)
    if dry_run or settings.dry_run:
        _show_preview(found, as_json)
    else:
        _show_deployment(made, settings, as_json)


@contracts.command(epilog=examples("veriregime contracts status --json"))
def status(as_json: JsonFlag = False) -> None:
    """Compare what is on the chain with its record and what is built here. Exit code 1 when something differs."""
    from app.chain.build import lay_out
    from app.chain.deployment import DeploymentPlan, require_deployment
    from app.chain.status import examine
    from app.progress import watched
    from app.wiring import open_rpc

    settings = read_settings()
    rpc = open_rpc(settings)
    deployment = require_deployment(settings.deployments, rpc.chain_id)
    feeds = tuple(deployment.feeds)
    with watched("contracts status") as step:
        plan = DeploymentPlan(deployment.parameters, _models(settings, feeds, step), feeds)
        layout = lay_out(_compiled(settings, step), plan, rpc.chain_id)
        step("asking the chain")
        findings = examine(rpc, deployment, plan, layout)
    _show_findings(findings, as_json)
    if not all(finding.holds for finding in findings):
        raise typer.Exit(1)


@contracts.command(epilog=examples("veriregime contracts reserve btc-usdt-4h 64"))
def reserve(
    feed: Annotated[str, typer.Argument(help="Such as btc-usdt-4h.")],
    rounds: Annotated[int, typer.Argument(min=1, max=256, help="About 23,000 gas each.")],
    as_json: JsonFlag = False,
) -> None:
    """Pay ahead for the storage of a feed's next rounds, so that updates cost less.

    Of use up to round 256: from then on storage is used again.
    """
    from app.chain.abi import encode_call
    from app.chain.attestation import feed_id
    from app.chain.deployment import require_deployment
    from app.chain.operations import Operator
    from app.chain.sender import Sender

    settings = read_settings()
    rpc, account = _chain(settings)
    terms = _terms(settings, anew=False)
    (name,) = _feeds(feed, settings)
    oracle = require_deployment(settings.deployments, rpc.chain_id).oracle
    data = encode_call("VolatilityOracle", "reserve", feed_id(name), rounds)
    sent = Operator(rpc, Sender(rpc, account, terms.caps), terms.patience)
    receipt = sent.send(f"reserve {rounds} rounds of {name}", oracle, data)
    if as_json:
        print_json({"feed": name, "rounds": rounds, "gas_used": receipt.gas_used, "tx_hash": receipt.tx_hash})
    else:
        print(f"reserved for {receipt.gas_used:,} gas in transaction {receipt.tx_hash}")


@contracts.command()
def abi() -> None:
    """Write the contracts' interfaces into the package anew, after one has changed: for developers."""
    from app.chain.abi import FOLDER, abi_text

    for name, contract in _build(read_settings()).contracts.items():
        path = FOLDER / f"{name}.json"
        path.write_text(abi_text(contract.abi))
        print(path)


def _chain(settings: Settings) -> tuple[Rpc, Account]:
    """The chain of the settings, and the account that pays."""
    from app.chain.account import Account
    from app.wiring import open_rpc

    secret = settings.key_of("submitter")
    if secret is None:
        raise Misconfigured("there is no account to pay with: set VERIREGIME_SUBMITTER_KEY_FILE")
    return open_rpc(settings), Account.from_secret(*secret, "submitter")


def _terms(settings: Settings, anew: bool) -> Terms:
    from app.chain.deploying import Terms
    from app.chain.operations import Patience
    from app.chain.sender import FeeCaps

    return Terms(
        caps=FeeCaps.of_gwei(settings.max_fee_gwei, settings.max_tip_gwei),
        testnets=settings.testnets,
        anew=anew,
        patience=Patience(replace_after_s=settings.replace_after_s),
    )


def _build(settings: Settings) -> Build:
    from app.chain.build import Build

    return Build(settings.contracts_dir, settings.var_dir / "build")


def _compiled(settings: Settings, step: Callable[[str], None]) -> Build:
    step("compiling the contracts, some seconds after a change")
    build = _build(settings)
    assert build.contracts  # noqa: S101  they are compiled when they are first asked for
    return build


def _feeds(named: str | None, settings: Settings) -> tuple[str, ...]:
    from app.settings import parse_feed

    if named is None:
        return settings.feeds
    feeds = tuple(dict.fromkeys(name.strip() for name in named.split(",") if name.strip()))
    for name in feeds:
        try:
            parse_feed(name)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return feeds


def _parameters(settings: Settings, rpc: Rpc, account: Account, given: dict[str, Any], anew: bool) -> Parameters:
    from app.chain.account import Account
    from app.chain.deploying import recorded_here
    from app.chain.deployment import chosen_parameters

    secret = settings.key_of("attester")
    attester = Account.from_secret(*secret, "attester").address if secret else None
    recorded = None if anew else recorded_here(rpc, settings.deployments)
    return chosen_parameters(given, recorded, rpc.chain_id, account.address, attester)


def _models(settings: Settings, feeds: Sequence[str], step: Callable[[str], None]) -> tuple[ModelPlan, ...]:
    """The models that speak for ``feeds``, each for every feed that it is the one for: it can take none later.

    The keys are built where they are not here, those for several windows only where a proof of them is of use.
    """
    from app.inference.release import load_models
    from app.settings import parse_feed
    from app.steps.deployment import model_plan
    from app.wiring import model_for, open_pool

    step("loading models and keys")
    models = load_models(settings.models_dir)
    chosen = {model.model_id: model for model in (model_for(parse_feed(feed), models) for feed in feeds)}
    plans = []
    with open_pool(settings, 1) as pool:
        for model in chosen.values():
            served = tuple(feed for feed in model.feeds if model_for(parse_feed(feed), models) is model)
            joint = model.batch if len(served) > 1 and settings.batching != "off" else None
            keys, joint_keys = (
                pool.serving_keys(settings.var_dir, circuit, *settings.srs_choice) if circuit else None
                for circuit in (model.circuit, joint)
            )
            assert keys is not None  # noqa: S101  every model has a circuit
            plans.append(model_plan(model, served, keys, joint_keys))
    return tuple(plans)


def _show_preview(found: Preview, as_json: bool) -> None:
    if as_json:
        steps = [{"what": step.what, "to": step.to, "gas": step.gas, "by_owner": step.by_owner} for step in found.steps]
        print_json({"steps": steps, "cost_wei": found.cost_wei, "balance_wei": found.balance_wei})
        return
    for step in found.steps:
        print(f"{step.what}: about {step.gas:,} gas{', to be sent by the owner' * step.by_owner}")
    print(
        f"{len(found.steps)} transactions, up to {found.cost_wei / _ETHER:.6g} ether at the fees of now; "
        f"the account has {found.balance_wei / _ETHER:.6g}"
    )


def _show_deployment(made: Deployment, settings: Settings, as_json: bool) -> None:
    if as_json:
        print_json(made.to_json())
        return
    print(f"chain {made.chain_id}, recorded in {settings.deployments / f'{made.chain_id}.json'}")
    for label, placed in made.contracts.items():
        print(f"  {placed.address}  {label}")
    for call in made.owner_calls:
        print(f"the owner {made.owner} has to {call.what}: send to {call.to}\n  {call.data}")
    if made.owner_calls:
        say("veriregime: then run this again")


def _show_findings(findings: list[Finding], as_json: bool) -> None:
    if as_json:
        print_json([{"subject": one.subject, "holds": one.holds, "detail": one.detail} for one in findings])
        return
    for one in findings:
        print(f"{'ok' if one.holds else 'DIFFERS':8} {one.subject:34} {one.detail}")
