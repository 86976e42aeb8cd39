%%% @doc Waiting for what can only be seen by looking.
-module(bct_wait).
-export([until/1, until/2]).

%% A slow machine is no failure.
-define(PATIENCE, 120000).
-define(GLANCE, 5).

%% @doc Looks until Condition answers true; an error after two minutes.
until(Condition) ->
    until(Condition, fun() -> Condition end).

%% @doc The same; Why says what the error is to tell.
until(Condition, Why) ->
    until(Condition, Why, erlang:monotonic_time(millisecond) + ?PATIENCE).

until(Condition, Why, Deadline) ->
    case {Condition(), erlang:monotonic_time(millisecond) > Deadline} of
        {true, _} -> ok;
        {_, true} -> error({waited_in_vain, Why()});
        {_, false} -> receive after ?GLANCE -> until(Condition, Why, Deadline) end
    end.
