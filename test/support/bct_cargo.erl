%%% @doc Programs of the Rust workspace for tests.
-module(bct_cargo).
-export([example/1]).

%% @doc Builds an example of the core crate and answers its path. Features are those of the whole
%% workspace, so that what `cargo test' built serves.
example(Name) ->
    Root = root(filename:dirname(filename:absname(code:which(?MODULE)))),
    Port = open_port({spawn_executable, os:find_executable("cargo")}, [
        exit_status, stderr_to_stdout, binary, {cd, Root},
        {args, ["build", "--locked", "--quiet", "--workspace", "--example", Name]}
    ]),
    ok = wait(Port, <<>>),
    filename:join([os:getenv("CARGO_TARGET_DIR", filename:join(Root, "target")), "debug", "examples", Name]).

wait(Port, Output) ->
    receive
        {Port, {data, Data}} -> wait(Port, <<Output/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> ok;
        {Port, {exit_status, Status}} -> error({cargo_failed, Status, Output})
    end.

%% The test code runs from below _build.
root(Dir) ->
    case filelib:is_regular(filename:join(Dir, "Cargo.lock")) of
        true -> Dir;
        false when Dir =/= "/" -> root(filename:dirname(Dir))
    end.
