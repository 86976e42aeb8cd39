%%% @doc `make test' reads from the runners' own output what they ran: what counts as a success.
-module(gate_tests).
-include_lib("eunit/include/eunit.hrl").

counts_of_each_runner_test() ->
    ?assertEqual({0, "15"}, count(
        "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n"
        "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n")),
    ?assertEqual({0, "70"}, count("=====\n  All 70 tests passed.\n")),
    ?assertEqual({0, "1"}, count("  Test passed.\n")),
    ?assertEqual({0, "9"}, count("%%% a_SUITE: ..\nAll 9 tests passed.\n")),
    ?assertEqual({0, "5"}, count("\e[32m5 tests, 0 failures\e[0m\n")),
    ?assertEqual({0, "7"}, count("2 doctests, 5 tests, 0 failures\n")).

failures_are_failures_test() ->
    ?assertEqual({1, "1 failed, 0 skipped"}, count("  Failed: 1.  Skipped: 0.  Passed: 6.\n")),
    ?assertEqual({1, "2 failed, 3 skipped"},
                 count("Failed 2 tests. Skipped 3 (0, 3) tests. Passed 9 tests. \n")),
    ?assertEqual({1, "1 failed, 0 skipped"}, count("5 tests, 1 failure\n")),
    ?assertEqual({1, "1 failed, 0 skipped"},
                 count("test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured\n")).

nothing_skipped_counts_as_run_test() ->
    ?assertEqual({1, "0 failed, 1 skipped"}, count("3 tests, 0 failures, 1 skipped\n")),
    ?assertEqual({1, "0 failed, 2 skipped"}, count("test result: ok. 1 passed; 0 failed; 2 ignored\n")),
    ?assertEqual({1, "0 failed, 1 skipped"}, count("Skipped 1 (1, 0) tests. Passed 4 tests. \n")).

nothing_run_is_no_success_test() ->
    ?assertEqual({1, "no test was run"}, count("All 0 tests passed.\n")),
    ?assertEqual({1, "no test was run"}, count("test result: ok. 0 passed; 0 failed; 0 ignored\n")),
    ?assertEqual({1, "the runner told no counts"}, count("compiled\n")).

%% What the gate is given when a runner has written this.
count(Text) ->
    bct_dir:with("gate", fun(Dir) ->
        File = filename:join(Dir, "log"),
        ok = file:write_file(File, Text),
        Awk = filename:join([bct_layout:root(), "tools", "count_tests.awk"]),
        Port = open_port({spawn_executable, os:find_executable("awk")}, [
            exit_status, {args, ["-f", Awk, File]}, {line, 200}
        ]),
        Said = receive {Port, {data, {eol, Line}}} -> Line end,
        receive {Port, {exit_status, Status}} -> {Status, Said} end
    end).
