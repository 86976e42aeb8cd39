%%% @doc What is built already: a tree as `rebar3 tar' and `mix release' leave it, with `lib/APP-VSN/ebin'
%%% at its top or in the one directory there. Nothing is run.
%%%
%%% Of a release the application is taken with what it needs. OTP's own applications and bc_gitops are
%%% the host's; so the release must be made for the host's OTP.
-module(bc_gitops_build_release).
-behaviour(bc_gitops_build_tool).

-export([name/0, detect/1, programs/0, version/0, environment/1, steps/1, output/1, members/1]).
-export([toolchain/1]).

%% ERTS 11 is that of OTP 23, and the numbers have gone together since.
-define(ERTS_TO_OTP, 12).

-spec name() -> release.
name() -> release.

-spec detect(file:filename()) -> boolean().
detect(Dir) ->
    has_libs(root(Dir)).

has_libs(Dir) ->
    filelib:wildcard("lib/*/ebin/*.app", Dir) =/= [].

root(Dir) ->
    Below = [filename:join(Dir, Name) || Name <- filelib:wildcard("*", Dir)],
    case has_libs(Dir) of
        true -> Dir;
        false -> hd([Each || Each <- Below, filelib:is_dir(Each), has_libs(Each)] ++ [Dir])
    end.

-spec programs() -> [].
programs() -> [].

-spec version() -> no_return().
version() -> error(no_program).

-spec environment(bc_gitops_build_tool:context()) -> [].
environment(_Context) -> [].

-spec steps(bc_gitops_build_tool:context()) -> [].
steps(_Context) -> [].

%% @doc The libraries of the release that is started: one that was upgraded has others beside them.
-spec output(bc_gitops_build_tool:context()) -> [file:filename()].
output(#{dir := Dir}) ->
    Root = root(Dir),
    Dirs = [filename:join([Root, "lib", Name]) || Name <- filelib:wildcard("*", filename:join(Root, "lib"))],
    Wanted = wanted(Root),
    [Each || Each <- Dirs, not is_of_host(Each), not is_old(Each, Wanted, Dirs)].

is_of_host(Dir) ->
    Hosts = [atom_to_list(App) || App <- [bc_gitops | bc_gitops_otp:applications()]],
    bc_gitops_build_app:app_names(Dir) -- Hosts =:= [].

is_old(Dir, Wanted, Dirs) ->
    lists:any(fun(App) ->
        case Wanted of
            #{App := Name} ->
                Name =/= filename:basename(Dir)
                    andalso lists:member(filename:join(filename:dirname(Dir), Name), Dirs);
            _ ->
                false
        end
    end, bc_gitops_build_app:app_names(Dir)).

%% The names of directories that the release's own list asks for. It is read as text: a term would
%% make atoms.
wanted(Root) ->
    Pattern = "\\{\\s*'?([a-z][a-zA-Z0-9_@]*)'?\\s*,\\s*\"([^\"]{1,100})\"",
    case re:run(rel(Root), Pattern, [global, {capture, all_but_first, list}]) of
        {match, Found} -> maps:from_list([{App, App ++ "-" ++ Vsn} || [App, Vsn] <- Found]);
        nomatch -> #{}
    end.

rel(Root) ->
    Files = case started(Root) of
        {_Erts, Vsn} -> filelib:wildcard(filename:join(["releases", Vsn, "*.rel"]), Root);
        none -> filelib:wildcard("releases/*.rel", Root) ++ filelib:wildcard("releases/*/*.rel", Root)
    end,
    iolist_to_binary([text(Root, File) || File <- lists:sublist(Files, 1)]).

%% What `releases/start_erl.data' says: "13.1.5 1.0.0".
started(Root) ->
    Text = text(Root, "releases/start_erl.data"),
    case re:run(Text, "\\A\\s*([0-9.]+)\\s+([a-zA-Z0-9][a-zA-Z0-9._+~-]*)\\s*\\z",
                [{capture, all_but_first, list}]) of
        {match, [Erts, Vsn]} -> {Erts, Vsn};
        nomatch -> none
    end.

text(Root, File) ->
    case bc_gitops_tree:read(Root, File) of
        {ok, Text} -> Text;
        none -> <<>>
    end.

%% @doc Everything: what the application does not need stays behind.
-spec members(bc_gitops_build_tool:context()) -> [file:filename()].
members(Context) ->
    lists:append([bc_gitops_build_app:app_names(Dir) || Dir <- output(Context)]).

%% @doc Which ERTS the release was made for, and whether that is this VM's.
-spec toolchain(file:filename()) ->
    {ok, #{text := binary(), otp := binary()}} | {error, {release_erts, map()}}.
toolchain(Dir) ->
    Root = root(Dir),
    Running = erlang:system_info(version),
    case erts(Root) of
        none -> {ok, identity("of an unknown ERTS")};
        Erts ->
            case major(Erts) =:= major(Running) of
                true -> {ok, identity("for ERTS " ++ Erts)};
                false -> mismatch(Erts, Running)
            end
    end.

identity(Text) ->
    #{text => list_to_binary("release " ++ Text), otp => list_to_binary(erlang:system_info(otp_release))}.

erts(Root) ->
    Named = [Vsn || "erts-" ++ Vsn <- filelib:wildcard("erts-[0-9]*", Root)],
    Listed = case re:run(rel(Root), "\\{\\s*erts\\s*,\\s*\"([0-9.]+)\"", [{capture, all_but_first, list}]) of
        {match, Found} -> Found;
        nomatch -> []
    end,
    Started = case started(Root) of {Erts, _} -> [Erts]; none -> [] end,
    hd(Started ++ Listed ++ Named ++ [none]).

major(Version) ->
    case string:to_integer(Version) of
        {Major, _} when is_integer(Major) -> Major;
        _ -> none
    end.

mismatch(Erts, Running) ->
    [Made, Here] = [iolist_to_binary([Version, otp(Version)]) || Version <- [Erts, Running]],
    Message = io_lib:format("the release was made for ERTS ~ts, and this VM is ERTS ~ts; make it with the OTP of "
                            "this VM, or run the host on that of the release", [Made, Here]),
    {error, {release_erts, #{release => Made, running => Here,
                             message => iolist_to_binary(Message)}}}.

otp(Version) ->
    case major(Version) of
        Major when is_integer(Major), Major >= 11 ->
            io_lib:format(" (OTP ~b)", [Major + ?ERTS_TO_OTP]);
        _ ->
            ""
    end.
