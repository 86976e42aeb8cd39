%%% @doc What was logged while something ran.
-module(bct_log).
-export([capture/1, log/2]).

%% @doc The lines logged by this process and others while Fun runs, oldest first.
capture(Fun) ->
    Id = list_to_atom("bct_log_" ++ integer_to_list(erlang:unique_integer([positive]))),
    ok = logger:add_handler(Id, ?MODULE, #{config => #{to => self(), tag => Id}}),
    try
        _ = Fun(),
        lines(Id)
    after
        ok = logger:remove_handler(Id)
    end.

%% @doc Callback of logger, in the process that logs.
log(Event, #{config := #{to := To, tag := Tag}}) ->
    To ! {Tag, unicode:characters_to_list(logger_formatter:format(Event, #{single_line => true}))},
    ok.

lines(Tag) ->
    receive {Tag, Line} -> [Line | lines(Tag)] after 0 -> [] end.
