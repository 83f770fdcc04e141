"""What customers and the exemplary agent say."""

from __future__ import annotations

from forge_envs.worlds.desk.database import Dice

_OPENINGS = {
    "service": (
        "My phone has had no service for hours. Can you help me?",
        "I cannot call anybody: my phone shows no signal at all.",
        "Hello, my phone says there is no service. What is wrong with it?",
        "Since this morning I have no bars on my phone, and nobody can reach me.",
        "I get no signal. I need my phone back as soon as you can.",
    ),
    "data": (
        "My mobile data do not work, or crawl. I want excellent speed again.",
        "The internet on my phone is down or painfully slow. Please get it as fast as it was.",
        "Web pages hardly load on my phone. I want a speed test to say excellent.",
        "Hi, something is wrong with my mobile data. I used to have excellent speed.",
        "I cannot get anything done online with my phone. I need its data as fast as they were.",
    ),
    "pictures": (
        "I cannot send picture messages any more. I want to send an MMS again.",
        "Whenever I try to send a photo in a message, it fails. Can you mend that?",
        "My messaging app refuses to send an MMS.",
        "Hello, sending pictures to my group no longer works. Please help.",
        "MMS do not go out from my phone. I would like to get that working.",
    ),
}
GOALS = {
    "service": "You want service on your phone again; it has none.",
    "data": "You want excellent speed of your mobile data again; they are slow or do not work.",
    "pictures": "You want to send an MMS again; it fails.",
}
"""What the customer comes for, told to whoever plays them."""
_PROOFS = {
    "service": "You are content when the status bar shows a signal.",
    "data": "You are content only when a speed test says excellent.",
    "pictures": "You are content when your phone can send an MMS.",
}
WHO = (
    "I am sorry to hear that. May I have your name and phone number?",
    "Let us look into it. Could you tell me the phone number of the line, please?",
    "Of course. What is your phone number?",
    "I can help with that. Who am I talking to, and what is your number?",
)
HOW_MUCH = (
    "Your data for this month are used up. How much data would you like to add?",
    "The line has reached its limit. How many gigabytes shall I refuel?",
)
ANYTHING_ELSE = (
    "Does it work now?",
    "Could you see whether it works now?",
    "That should be all. Is it working again?",
)
HANDED_OVER = (
    "The customer's phone has no service, for a reason that cannot be dealt with here.",
    "No service; needs a colleague with more rights.",
)


def opening_line(case: str, dice: Dice) -> str:
    """What the customer says first."""
    return dice.choice(_OPENINGS[case])


def manners(case: str, gigabytes: float) -> str:
    """How the customer acts, as their notes put it."""
    return (
        f"{_PROOFS[case]} Do on your phone what the agent asks for, and tell what came of it. If you are "
        f"asked to pay a bill, you do. You would refuel {gigabytes} GB of data if that is needed, and you do "
        "not want to change your plan."
    )
