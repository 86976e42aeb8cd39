%%% @doc Rows as lines of a terminal and as a Markdown document.
-module(bench_table).

-export([line/1, document/2]).

line(Row) ->
    [What, Ours, Name, Theirs, Ratio, Aim] = cells(Row),
    [string:pad(What, 66), " ", string:pad(Ours, 11, leading), "  ", string:pad(Name, 42),
     string:pad(Theirs, 11, leading), string:pad(Ratio, 9, leading), "  ", Aim, "\n"].

document(Machine, Rows) ->
    ["# Results\n\n",
     "Written by `make bench`; how each row is measured is in [README.md](README.md).\n\n",
     [["- ", Line, "\n"] || Line <- Machine],
     "\nTimes are medians of runs that take turns. An aim is for a machine that does nothing else.\n\n",
     "| what | bc_gitops | against | it takes | times as fast | aim |\n",
     "|---|---:|---|---:|---:|---|\n",
     [["| ", lists:join(" | ", cells(Row)), " |\n"] || Row <- Rows]].

cells(#{what := What} = Row) ->
    {Name, Theirs} = maps:get(theirs, Row, {"", none}),
    Ours = maps:get(ours, Row, none),
    [What, ours(Row), Name, time(Theirs), ratio(Ours, Theirs), aim(Row)].

ours(#{mib := Mib}) -> io_lib:format("~.1f MiB", [float(Mib)]);
ours(#{ours := Ours}) -> time(Ours).

time(none) -> "";
time(Ms) when Ms < 0.1 -> io_lib:format("~.2f us", [Ms * 1000]);
time(Ms) when Ms < 10 -> io_lib:format("~.2f ms", [float(Ms)]);
time(Ms) -> io_lib:format("~.1f ms", [float(Ms)]).

ratio(_, none) -> "";
ratio(none, _) -> "";
ratio(Ours, Theirs) when Theirs < Ours / 20 -> "";   % a control, no competitor
ratio(Ours, Theirs) -> io_lib:format("~.1f", [Theirs / Ours]).

aim(#{aim := Aim, met := Met}) when Aim =/= none ->
    Mark = if Met -> "met"; true -> "MISSED" end,
    Text = case Aim of
        {ms, N} when N < 0.1 -> io_lib:format("~b us", [round(N * 1000)]);
        {ms, N} -> io_lib:format("~b ms", [N]);
        {times, N} -> io_lib:format("~w times", [N]);
        {mib, N} -> io_lib:format("~b MiB", [N])
    end,
    io_lib:format("~ts: ~ts", [Text, Mark]);
aim(_) ->
    "".
