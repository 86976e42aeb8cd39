%%% @doc Whether the native library is there and is the one that this code needs.
%%%
%%% Asked before the reconciler starts: without the library nothing is followed, and the application runs
%%% all the same, so that what it had started before goes on and `status/0' can say what is wrong.
-module(bc_gitops_library).

-export([check/0, check/2]).

-export_type([reason/0]).

-type reason() :: {native_abi | native_not_loaded, #{message := binary(), atom() => term()}}.

%% @doc `ok', or what is wrong and what to do.
-spec check() -> ok | {error, reason()}.
check() ->
    check(code:ensure_loaded(bc_gitops_native), fun bc_gitops_native:check/0).

%% @doc The same for what loading the module answered, and for the library's own check.
-spec check(Loaded :: {module, module()} | {error, term()}, fun(() -> ok | {error, {native_abi, map()}})) ->
    ok | {error, reason()}.
check({module, _}, Check) ->
    case Check() of
        ok ->
            ok;
        {error, {native_abi, #{loaded := Loaded, expected := Expected} = Details}} ->
            Message = io_lib:format(
                "the native library that is loaded has the interface ~b, and this code needs ~b: the library of "
                "a running VM cannot be replaced, restart the VM; managed apps go on until then",
                [Loaded, Expected]),
            {error, {native_abi, Details#{message => unicode:characters_to_binary(Message)}}}
    end;
check({error, Reason}, _Check) ->
    File = file(),
    What = case filelib:is_regular(File) of
        true -> "cannot be loaded: it was built for another machine or another Erlang, build bc_gitops here";
        false -> "is missing: the build of bc_gitops failed or was left out, build it again"
    end,
    Message = unicode:characters_to_binary(io_lib:format("the native library ~ts ~ts", [File, What])),
    {error, {native_not_loaded, #{file => File, reason => Reason, message => Message}}}.

file() ->
    Ebin = filename:dirname(code:which(?MODULE)),
    unicode:characters_to_binary(filename:join([filename:dirname(Ebin), "priv", "bc_gitops_nif.so"])).
