%%% @doc Temporary directories for tests.
-module(bct_dir).
-export([make/1, remove/1, with/2]).

%% @doc A new private directory, its name starting with Prefix.
make(Prefix) ->
    Unique = integer_to_list(erlang:unique_integer([positive])),
    Dir = filename:join(["/tmp", Prefix ++ "-" ++ os:getpid() ++ "-" ++ Unique]),
    ok = filelib:ensure_path(Dir),
    ok = file:change_mode(Dir, 8#700),
    list_to_binary(Dir).

remove(Dir) ->
    _ = file:del_dir_r(Dir),
    ok.

%% @doc Runs Fun with a new directory and removes it afterwards.
with(Prefix, Fun) ->
    Dir = make(Prefix),
    try Fun(Dir) after remove(Dir) end.
