%%% @doc What a build in the sandbox sees of the host, as arguments of bubblewrap: the system's
%%% programs, what its tools and its environment need, and its own directory. Everything else is
%%% not there. Only looks at files; changes nothing.
-module(bc_gitops_sandbox_view).

-export([system/0, of_build/1, readable/3]).

-include_lib("kernel/include/file.hrl").

%% Programs and libraries; nothing in them is meant for one user alone.
-define(SYSTEM, ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store",
                 "/gnu/store"]).
%% What programs look for in /etc, without what only some may read there.
-define(ETC, ["alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies",
              "debian_version", "gai.conf", "group", "host.conf", "hosts", "ld.so.cache",
              "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf",
              "os-release", "passwd", "pki/ca-trust/extracted", "pki/tls/cert.pem",
              "pki/tls/certs", "pki/tls/openssl.cnf", "protocols", "resolv.conf", "services",
              "ssh/ssh_known_hosts", "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "static",
              "timezone"]).
%% Shown as /etc is: programs that were installed by hand have theirs here.
-define(LOCAL_ETC, "/usr/local/etc").
%% Where many keep theirs: never shown as a whole because a variable names it.
-define(SHARED, ["/", "/dev", "/etc", "/home", "/media", "/mnt", "/opt", "/proc", "/root", "/run",
                 "/srv", "/sys", "/tmp", "/var", "/var/lib", "/var/tmp"]).
%% Programs whose installation is more than the directory that they stand in.
-define(PROGRAMS, ["erl", "erlc", "escript", "rebar3", "elixir", "mix", "make", "git", "cc"]).
-define(SECRETS_OF_HOME, [".ssh", ".erlang.cookie", ".netrc", ".git-credentials", ".gnupg",
                          ".config", ".aws", ".kube", ".docker"]).
-define(MAX_LINKS, 10).
%% Of a build's own directory.
-define(WRITABLE, ["src", "home", "cache", "tmp", "shm"]).

%% @doc The part that all builds share. /proc is not writable: for root it is the kernel's settings.
-spec system() -> [file:filename_all()].
system() ->
    lists:append([as_it_is(Path, file:read_link(Path)) || Path <- ?SYSTEM])
        ++ lists:append([["--tmpfs", Dir] || Dir <- local_etc()])
        ++ lists:append([ro_bind(Path) || Path <- always() -- ?SYSTEM])
        ++ ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"].

always() ->
    ?SYSTEM ++ etc("/etc") ++ lists:append([etc(Dir) || Dir <- local_etc()]).

etc(Dir) -> [filename:join(Dir, Name) || Name <- ?ETC].

%% A link leads to where nothing is shown.
local_etc() ->
    case file:read_link_info(?LOCAL_ETC) of
        {ok, #file_info{type = directory}} -> [?LOCAL_ETC];
        _ -> []
    end.

%% Whether all builds see it.
is_shown(Path) ->
    is_in(Path, always() -- ?SYSTEM) orelse is_in(Path, ?SYSTEM) andalso not is_in(Path, local_etc()).

as_it_is(Path, {ok, Target}) -> ["--symlink", Target, Path];
as_it_is(Path, {error, _}) -> ro_bind(Path).

ro_bind(Path) ->
    case filelib:is_file(Path) of
        true -> ["--ro-bind", Path, Path];
        false -> []
    end.

%% @doc The part of one build: what may be read, then over it what nevertheless may not, then the
%% directories that it may write. Those for temporary files and shared memory are among them: they
%% are counted. What they stand in cannot be written, so that a command never finds a link that an
%% earlier one put in the place of one of them.
-spec of_build(bc_gitops_sandbox:need()) -> [file:filename_all()].
of_build(#{scratch := Scratch, workspace := Workspace, network := Network, env := Env}) ->
    Writable = [made(filename:join(Scratch, Name)) || Name <- ?WRITABLE],
    Own = real([Workspace | bc_gitops_build_config:own_paths()]),
    {Paths, Links} = readable(Env ++ bc_gitops_build_config:passed_environment(), Network, Own),
    {Over, ReadOnly} = lists:unzip([cover(Path) || Path <- covered(Paths, Own)]),
    ["--bind", filename:join(Scratch, "tmp"), "/tmp",
     "--bind", filename:join(Scratch, "shm"), "/dev/shm", "--remount-ro", "/dev"]
        ++ known_hosts(Network)
        ++ lists:append([["--ro-bind", Path, Path] || Path <- Paths])
        ++ lists:append([["--symlink", Target, Link] || {Link, Target} <- Links])
        ++ lists:append(Over) ++ lists:append([["--bind", Dir, Dir] || Dir <- Writable])
        ++ lists:append(ReadOnly) ++ lists:append([["--remount-ro", Dir] || Dir <- local_etc()]).

%% Where the disk takes no directory bubblewrap fails and says so.
made(Dir) ->
    _ = filelib:ensure_path(Dir),
    Dir.

%% Host keys are no secret, and ssh looks for them here as well.
known_hosts(false) ->
    [];
known_hosts(true) ->
    case [File || File <- bc_gitops_build_config:known_hosts(), filelib:is_regular(File)] of
        [File | _] -> ["--ro-bind", File, "/etc/ssh/ssh_known_hosts2"];
        [] -> []
    end.

%% @doc The paths outside the system's own that a build may read, and the links that lead to them:
%% the directories of PATH, the installations of the tools in them, what the environment names, and
%% what `build_read' names. Sockets (an agent's) are there only while it has the network.
-spec readable(Environment :: [{string(), unicode:chardata()}], Network :: boolean(), Own) ->
    {[file:filename()], [{Link :: file:filename(), Target :: file:filename()}]}
    when Own :: [file:filename()].
readable(Environment, Network, Own) ->
    Found = bc_gitops_build_path:directories() ++ lists:append([parts(P) || P <- ?PROGRAMS])
        ++ lists:append([named(Value) || {_, Value} <- Environment]),
    Pairs = [{Path, Real} || Path <- lists:usort(Found), Real <- real([Path]),
                             is_modest(Real, Own), is_there(Real, Network)]
        ++ [{Path, Real} || Path <- bc_gitops_build_config:readable(), Real <- real([Path])],
    Paths = outermost([Real || {_, Real} <- Pairs, not is_shown(Real)]),
    Links = [Pair || {Path, Real} = Pair <- Pairs, Path =/= Real],
    Outer = outermost([Path || {Path, _} <- Links, not is_shown(Path), not is_in(Path, Paths)]),
    {Paths, [Pair || {Path, _} = Pair <- lists:usort(Links), lists:member(Path, Outer)]}.

%% What does not exist has none, and a relative path means nothing elsewhere.
real(Paths) ->
    [Real || Path <- Paths, filename:pathtype(Path) =:= absolute,
             {ok, Real} <- [bc_gitops_tree:real_path(Path)]].

%% Those that are not in another one; a path sorts before what is in it.
outermost(Paths) ->
    Add = fun(Path, Acc) ->
        case is_in(Path, Acc) of
            true -> Acc;
            false -> Acc ++ [Path]
        end
    end,
    lists:foldl(Add, [], lists:usort(Paths)).

is_in(Path, Dirs) ->
    lists:any(fun(Dir) -> bc_gitops_tree:is_below(Path, Dir) end, Dirs).

is_there(Path, Network) ->
    case file:read_file_info(Path) of
        {ok, #file_info{type = other}} -> Network;
        {ok, _} -> true;
        {error, _} -> false
    end.

%% Not what holds a home or what is ours.
is_modest(Path, Own) ->
    not lists:member(Path, ?SHARED)
        andalso not lists:any(fun(Each) -> bc_gitops_tree:is_below(Each, Path) end, home() ++ Own).

home() ->
    real([os:getenv("HOME", "/")]) -- ["/"].

%% A value may be a list of paths, as PATH is.
named(Value) ->
    Text = unicode:characters_to_list(Value),
    case string:find(Text, "://") of
        nomatch -> string:lexemes(Text, ":");
        _ -> []
    end.

%% The directories of the links that lead to a program, and the installation at their end.
parts(Name) ->
    case bc_gitops_command:find(Name) of
        {ok, Program} ->
            Links = links(Program, ?MAX_LINKS),
            [Real] = real([Program]),
            [filename:dirname(File) || File <- [Real | Links]] ++ installation(Real);
        {error, _} ->
            []
    end.

links(File, 0) ->
    [File];
links(File, Left) ->
    case file:read_link(File) of
        {ok, Target} ->
            [Dir] = real([filename:dirname(File)]),
            [File | links(without_dots(filename:split(filename:absname(Target, Dir)), []), Left - 1)];
        {error, _} ->
            [File]
    end.

without_dots([], Done) -> filename:join(lists:reverse(Done));
without_dots([".." | Rest], [_, _ | _] = Done) -> without_dots(Rest, tl(Done));
without_dots([Dots | Rest], Done) when Dots =:= ".."; Dots =:= "." -> without_dots(Rest, Done);
without_dots([Name | Rest], Done) -> without_dots(Rest, [Name | Done]).

%% OTP and Elixir stand around their programs; `rebar3 local install' puts versions beside.
installation(Program) ->
    Up = filename:dirname(filename:dirname(Program)),
    Roots = [Dir || Dir <- [Up, filename:dirname(Up)], Mark <- ["stdlib-*", "elixir/ebin"],
                    filelib:wildcard(filename:join("lib", Mark), Dir) =/= []],
    Beside = [filename:join(Up, Name) || Name <- ["lib/erlang", "vsns"]],
    Roots ++ [Dir || Dir <- Beside, filelib:is_dir(Dir)].

%% What is ours, or a secret, and lies in what may be read.
covered(Paths, Own) ->
    OfHome = real([filename:join(Home, Name) || Home <- home(), Name <- ?SECRETS_OF_HOME]),
    outermost([Path || Path <- Own ++ OfHome, is_shown(Path) orelse is_in(Path, Paths)]).

%% A directory is made read-only last: what the build may write can be in it.
cover(Path) ->
    case filelib:is_dir(Path) of
        true -> {["--tmpfs", Path], ["--remount-ro", Path]};
        false -> {["--ro-bind", "/dev/null", Path], []}
    end.
