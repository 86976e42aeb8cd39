%%% @doc Waiting for what can only be seen by looking.
-module(bct_wait).
-export([until/1, until/2]).

-define(PATIENCE, 120000).

%% @doc Looks until Fun answers true; an error after two minutes.
until(Fun) ->
    until(Fun, ?PATIENCE).

until(Fun, Left) when Left > 0 ->
    case Fun() of
        true -> ok;
        false ->
            receive after 20 -> ok end,
            until(Fun, Left - 20)
    end;
until(Fun, _) ->
    error({waited_in_vain, Fun}).
