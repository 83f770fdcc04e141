"""The telecom domain of τ²-bench: both sides have tools, the agent a carrier's, the customer a phone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forge_envs.messages import ToolCall
from forge_envs.people.users import User
from forge_envs.tables import Base, Table
from forge_envs.worlds.tau.customer import CountedHands
from forge_envs.worlds.tau.domain import Contract, Domain
from forge_envs.worlds.tau.task import TauTask
from forge_envs.worlds.tau.telecom_files import read_telecom, telecom_policy
from forge_envs.worlds.telecom.carrier import Carrier
from forge_envs.worlds.telecom.customer import PhoneCustomer, ask_for
from forge_envs.worlds.telecom.functions import CARRIER, PHONE
from forge_envs.worlds.telecom.phone import Phone

_TABLES = ("plans", "customers", "lines", "bills", "devices", "phone")


def _prepare(tables: Mapping[str, Base]) -> Callable[[], Carrier]:
    plans, customers, lines, bills, devices, phone = (tables[name] for name in _TABLES)
    return lambda: Carrier(
        plans=Table(plans),
        customers=Table(customers),
        lines=Table(lines),
        bills=Table(bills),
        devices=Table(devices),
        phone=Table(phone),
    )


def _apart(desk: Carrier) -> None:
    desk.salt = "gold"


def _customer(task: TauTask, hands: CountedHands) -> User:
    return PhoneCustomer(task.brief.goal, task.known, task.brief.instructions, hands)


def _looks(task: TauTask) -> list[ToolCall]:
    numbers = [call.arguments["phone_number"] for call in task.setup if call.name == "set_user_info"]
    looks = [ToolCall("get_customer_by_phone", {"phone_number": number}) for number in numbers[-1:]]
    return [*looks, ToolCall("check_status_bar", {}, "user")]


TELECOM = Domain(
    name="telecom",
    address=f"{__name__}:TELECOM",
    fields={},
    nulls={},
    proof="db.toml",
    read=read_telecom,
    policy=telecom_policy,
    customer=_customer,
    ask=ask_for,
    looks=_looks,
    contracts={
        "tau2": Contract(
            Carrier,
            _prepare,
            changing=("customers", "lines", "bills", "phone"),
            hands=Phone,
            functions={"assistant": CARRIER, "user": PHONE},
            apart=_apart,
        )
    },
)
