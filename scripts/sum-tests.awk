# One line for all of cargo's "test result" lines.
/^test result:/ {
    for (i = 1; i <= NF; i++) {
        if ($i == "passed;") passed += $(i - 1)
        if ($i == "failed;") failed += $(i - 1)
        if ($i == "ignored;") ignored += $(i - 1)
    }
}
END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, ignored }
