"""What several test modules assert of a program that has ended."""


def assert_refused(done, *words) -> None:
    """One line on standard error, with these words in it, and exit status 2."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    for word in words:
        assert word in done.stderr
