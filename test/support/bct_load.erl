%%% @doc A client that calls a counter about every millisecond and writes down how each call went.
-module(bct_load).
-export([start/1, stop/1, run/2]).

%% @doc Starts a client of a registered name, here or `{Name, Node}', that outlives its caller.
start(Server) ->
    Starter = self(),
    Pid = spawn(?MODULE, run, [Server, Starter]),
    receive {Pid, called} -> Pid end.

%% @doc Ends it: how many calls were made, which failed, and the longest one in microseconds.
stop(Pid) ->
    Ref = monitor(process, Pid),
    Pid ! {stop, self()},
    receive
        {Pid, Told} -> demonitor(Ref, [flush]), Told;
        {'DOWN', Ref, process, Pid, Reason} -> error({client_ended, Reason})
    end.

%% @private
run(Server, Starter) ->
    First = call(Server, #{calls => 0, failed => [], longest => 0}),
    Starter ! {self(), called},
    loop(Server, First).

loop(Server, Told) ->
    receive {stop, From} -> From ! {self(), Told}
    after 1 -> loop(Server, call(Server, Told))
    end.

call(Server, #{calls := Calls, failed := Failed, longest := Longest} = Told) ->
    Began = erlang:monotonic_time(microsecond),
    Next = try gen_server:call(Server, bump, infinity) of
        _ -> Told
    catch
        Class:Reason -> Told#{failed := [{Class, Reason} | Failed]}
    end,
    Next#{calls := Calls + 1, longest := max(Longest, erlang:monotonic_time(microsecond) - Began)}.
