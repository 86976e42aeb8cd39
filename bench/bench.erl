%%% @doc Runs the groups, prints the table and writes it to bench/RESULTS.md.
-module(bench).

-export([main/0, main/1]).

-define(GROUPS, [{"specs", bench_specs}, {"plan", bench_plan}, {"git", bench_git},
                 {"files", bench_files}, {"cycle", bench_cycle}, {"upgrade", bench_upgrade}, {"hot", bench_hot},
                 {"build", bench_build}, {"store", bench_store}, {"status", bench_status}]).

main() ->
    main([]).

main([]) ->
    Rows = lists:append([measure(Group) || Group <- ?GROUPS]),
    ok = file:write_file("bench/RESULTS.md", bench_table:document(bench_machine:lines(), Rows)),
    finish(Rows);
main(Names) ->
    finish(lists:append([measure(Group) || {Name, _} = Group <- ?GROUPS, lists:member(Name, Names)])).

measure({_Name, Module}) ->
    Rows = bench_rows:start(),
    Module:run(),
    bench_rows:stop(Rows).

%% A missed aim is shown, and is no failure: the machine may be busy or small.
finish(Rows) ->
    Missed = [Row || #{met := false} = Row <- Rows],
    io:format("~n~b rows, ~b aims missed~n", [length(Rows), length(Missed)]),
    halt(0).
