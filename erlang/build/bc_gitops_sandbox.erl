%%% @doc Whether and how commands of builds are confined: bubblewrap, where it works here and
%%% `build_sandbox' does not say `off'. It owns what bubblewrap is told; what of the host a build
%%% sees is {@link bc_gitops_sandbox_view}.
-module(bc_gitops_sandbox).

-export([choose/0, describe/1, wrapper/2]).

-export_type([sandbox/0, need/0]).

-type sandbox() :: none | {bubblewrap, Program :: file:filename(), UserNamespace :: [string()]}.
-type need() :: #{
    scratch := file:filename_all(),    % all that it may write
    workspace := file:filename_all(),  % where the builds of others are
    cd := file:filename_all(),
    network := boolean(),
    env := [{string(), unicode:chardata()}]
}.

-define(CHOSEN, {?MODULE, chosen}).
-define(PROBE_TIMEOUT, 10000).
%% Namespaces within the sandbox are a way to parts of the kernel that nothing in it needs. Old
%% versions of bubblewrap cannot forbid them; root can do without one in a container that has none.
-define(USER_NAMESPACES, [["--unshare-user", "--disable-userns"], ["--unshare-user"], []]).

%% @doc What holds for builds now. It is said in the log when it is not what it was.
-spec choose() -> {ok, sandbox()} | {error, {sandbox_missing, map()}}.
choose() ->
    case bc_gitops_build_config:sandbox() of
        off -> {ok, chosen(none, "build_sandbox is off")};
        Mode -> choose(Mode, probe())
    end.

choose(_Mode, {ok, Sandbox}) ->
    {ok, chosen(Sandbox, "")};
choose(auto, {error, Why}) ->
    {ok, chosen(none, Why)};
choose(required, {error, Why}) ->
    Message = unicode:characters_to_binary(
        ["build_sandbox is required, and there is none: ", Why]),
    {error, {sandbox_missing, #{message => Message}}}.

%% @doc One line for the log of a build.
-spec describe(sandbox()) -> string().
describe(none) -> "no sandbox: what is built can read and write what the node's user can";
describe({bubblewrap, _, _}) -> "sandbox: bubblewrap; no network once dependencies are there".

chosen(Sandbox, Why) ->
    case persistent_term:get(?CHOSEN, undefined) of
        {Sandbox, Why} ->
            Sandbox;
        _ ->
            persistent_term:put(?CHOSEN, {Sandbox, Why}),
            logger:notice("bc_gitops: builds have ~ts~ts",
                          [describe(Sandbox), [[" (", Why, ")"] || Why =/= ""]]),
            Sandbox
    end.

%% What works is not tried again, what does not is: somebody may have mended it.
probe() ->
    case {persistent_term:get(?CHOSEN, undefined), bc_gitops_command:find("bwrap")} of
        {{{bubblewrap, Program, _} = Sandbox, _}, {ok, Program}} -> {ok, Sandbox};
        {_, {ok, Program}} -> probe(?USER_NAMESPACES, Program, "");
        {_, {error, _}} -> {error, not_found(os:type())}
    end.

not_found({unix, linux}) ->
    "bwrap is not on the path; on Debian: apt-get install bubblewrap";
not_found(_) ->
    "bubblewrap runs on Linux only".

probe([], _Program, Said) ->
    {error, ["bwrap does not work here (", Said, "); it needs user namespaces: "
             "see guides/builds.md"]};
probe([UserNamespace | Others], Program, _Said) ->
    Sandbox = {bubblewrap, Program, UserNamespace},
    Args = arguments(Sandbox, false) ++ bc_gitops_sandbox_view:system() ++ ["--", a_program(), "-c", ":"],
    Command = #{program => Program, args => Args, timeout => ?PROBE_TIMEOUT},
    case bc_gitops_command:run(Command) of
        {ok, _} -> {ok, Sandbox};
        {error, {Kind, #{output := Output}}} -> probe(Others, Program, said(Kind, Output))
    end.

%% Without its links: a system may have them where the sandbox does not.
a_program() ->
    {ok, Program} = bc_gitops_command:find("sh"),
    {ok, Real} = bc_gitops_tree:real_path(Program),
    Real.

said(Kind, Output) ->
    case string:trim(Output) of
        <<>> -> atom_to_list(Kind);
        Text -> hd(string:split(Text, "\n"))
    end.

%% @doc The program and arguments to be put in front of a command.
-spec wrapper(sandbox(), need()) -> undefined | {file:filename(), [file:filename_all()]}.
wrapper(none, _Need) ->
    undefined;
wrapper({bubblewrap, Program, _} = Sandbox, #{network := Network, cd := Dir} = Need) ->
    Args = arguments(Sandbox, Network) ++ bc_gitops_sandbox_view:system()
        ++ bc_gitops_sandbox_view:of_build(Need) ++ ["--remount-ro", "/", "--chdir", Dir, "--"],
    {Program, Args}.

%% Capabilities are dropped by name: root would keep its own.
arguments({bubblewrap, _, UserNamespace}, Network) ->
    UserNamespace
        ++ ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
        ++ ["--unshare-net" || not Network]
        ++ ["--die-with-parent", "--new-session", "--hostname", "build", "--cap-drop", "ALL"].
