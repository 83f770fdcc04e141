"""How people word issues: tables of phrases, from which a seed draws. All sentences are our own."""

TITLES = {
    "value": (
        "{call} returns {bug} instead of {gold}",
        "{call} gives {bug}",
        "Wrong result from {what}",
        "{what}: expected {gold}, got {bug}",
        "{what} returns the wrong value",
        "Unexpected result of {what}",
        "{name} {version}: {what} does not give what it should",
        "Is {bug} really right for {call}?",
        "{what} not working as expected",
        "incorrect output of {what}",
    ),
    "raises": (
        "{what} raises {error}",
        "{error} in {what}",
        "{error} when calling {what}",
        "{last}",
        "{call} fails with {error}",
        "Crash in {what}: {error}",
        "{what} fails on input that should be fine",
        "[{name}] unexpected {error}",
    ),
    "silent": (
        "{what} does not raise {wanted}",
        "No {wanted} from {call}",
        "{what} accepts what it should refuse",
        "{call} should raise {wanted}",
        "Missing check in {what}",
        "{wanted} is never raised by {what}",
    ),
    "other": (
        "{what} raises {error} instead of {wanted}",
        "Wrong exception from {what}",
        "{call} should raise {wanted}, not {error}",
        "{error} leaks out of {what} where callers expect {wanted}",
    ),
}
OPENINGS = (
    "I ran into this with {name} {version}.",
    "Found this while upgrading our code to {name} {version}.",
    "We use {what} quite a lot, and one case does not come out right.",
    "This one took me a while to track down.",
    "Hi, thanks for {name}! I think that I found a bug.",
    "Something is off with {what}.",
    "I have cut this down as far as I could.",
    "Not sure whether this is intended, but it surprised me.",
    "One of our own checks started to fail, and it comes down to {name}.",
    "While reviewing some data I noticed odd results, and they come from {what}.",
    "Minimal example:",
    "To reproduce:",
    "{name} {version} here.",
    "",
    "",
)
VALUE_TOLD = (
    "This prints `{bug}`. It should print `{gold}`.",
    "I get `{bug}` where I expected `{gold}`.",
    "The output is `{bug}`, but the right answer is `{gold}`.",
    "Expected `{gold}`, got `{bug}`.",
    "It should be `{gold}`; what I see is `{bug}`.",
    "Actual: `{bug}`\nExpected: `{gold}`",
    "`{bug}` comes out. As far as I understand it, `{gold}` would be correct.",
)
ASSERT_TOLD = (
    "The assertion fails: the left side is `{bug}`.",
    "I expected this to pass, since the result should be `{gold}`. In fact it is `{bug}`.",
    "This does not hold; I get `{bug}` rather than `{gold}`.",
    "The value is `{bug}`, not `{gold}`.",
)
SESSION_TOLD = (
    "I expected `{}`.",
    "It should be `{}`.",
    "Expected: `{}`",
    "The result should be `{}`.",
    "That last line should say `{}`.",
    "Shouldn't this be `{}`?",
    "`{}` is what I would expect.",
)
RAISES_TOLD = (
    "This ends with",
    "It raises:",
    "What I get is an exception:",
    "Traceback:",
    "The last line raises",
    "The call fails:",
)
FINE = (
    "It should go through without an error.",
    "I expected no exception here.",
    "I would expect this to work{result}.",
    "No error should be raised{result}.",
    "This input is valid, so nothing should be raised{result}.",
)
SILENT_TOLD = (
    "Nothing is raised, the result is `{bug}`. I expected `{wanted}`.",
    "This should raise `{wanted}`; instead it prints `{bug}`.",
    "I get `{bug}` back, where a `{wanted}` should be raised.",
    "Expected: `{wanted}`\nActual: no exception, `{bug}` is printed",
)
OTHER_TOLD = (
    "I expected `{wanted}` here.",
    "According to the rest of the interface this should be `{wanted}`.",
    "It should be `{wanted}`, which is what callers catch.",
)
DOCUMENTED = (
    "The documentation of `{callee}` says:\n\n> {doc}",
    'From the docstring of `{callee}`: "{doc}"',
    '`help({callee})` tells me "{doc}", so I expected this to work.',
)
MORE = (
    "The same happens here:",
    "Another case:",
    "Probably related:",
    "It is not only that one:",
    "Also:",
    "A second example that goes wrong:",
)
CLOSINGS = (
    "Other inputs that I tried are fine.",
    "I had a short look but did not find the reason.",
    "Happy to test a fix.",
    "Could you have a look?",
    "I can work around it for now, but it would be nice to have this right.",
    "Everything else that I use still behaves.",
    "",
    "",
    "",
    "",
)
VERSIONS = (
    "{name} {version}, Python {python}",
    "- {name}: {version}\n- Python: {python}\n- OS: Linux",
    "Version: {version} (Python {python})",
    "Tested with {name} {version} on Python {python}.",
    "Python {python}, {name}=={version}, Debian",
    "I am on {name} {version}.",
)
HEADINGS = (
    ("### Describe the bug", "### Steps to reproduce", "### Expected behaviour", "### Actual behaviour",
     "### Environment"),
    ("**Describe the bug**", "**To Reproduce**", "**Expected behavior**", "**What happens**", "**Versions**"),
    ("#### Description", "#### Code", "#### Expected", "#### Actual", "#### Version"),
    ("## What I did", "", "## What I expected", "## What happened instead", "## My setup"),
    ("", "Code to reproduce:", "Expected result:", "Actual result:", "Environment:"),
)  # fmt: skip
SCRIPTS = ("example.py", "repro.py", "t.py", "<stdin>", "bug.py", "check.py")
