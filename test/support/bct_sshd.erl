%%% @doc A real sshd on loopback with keys of its own; the user of the tests logs in by key.
-module(bct_sshd).
-export([start/1, start/2, stop/1, url/2, known_hosts/3, host_key/2, agent/2]).

%% @doc Starts it with an ed25519 host key.
start(Dir) ->
    start(Dir, ["ed25519"]).

%% @doc Starts it with host keys of these types. Answers the port, the user's private key (without and
%% with a passphrase), a key that isn't let in, and a known_hosts file that has the host.
start(Dir0, Types) ->
    Dir = unicode:characters_to_list(Dir0),
    Sshd = bct_server:program("sshd", "openssh-server"),
    _ = bct_server:user() =:= "root" andalso filelib:ensure_path("/run/sshd"),
    ok = filelib:ensure_path(Dir),
    Port = bct_server:free_port(),
    [keygen(host_key(Dir, Type), Type, "") || Type <- Types],
    Key = filename:join(Dir, "id_user"),
    Locked = filename:join(Dir, "id_locked"),
    Stranger = filename:join(Dir, "id_stranger"),
    keygen(Key, "ed25519", ""),
    keygen(Locked, "ed25519", "pass phrase"),
    keygen(Stranger, "ed25519", ""),
    {ok, Public} = file:read_file(Key ++ ".pub"),
    {ok, LockedPublic} = file:read_file(Locked ++ ".pub"),
    Authorized = filename:join(Dir, "authorized"),
    ok = file:write_file(Authorized, [Public, LockedPublic]),
    Config = filename:join(Dir, "sshd_config"),
    ok = file:write_file(Config, [
        io_lib:format("Port ~b~nListenAddress 127.0.0.1~nPidFile ~ts/pid~n", [Port, Dir]),
        [io_lib:format("HostKey ~ts~n", [host_key(Dir, Type)]) || Type <- Types],
        io_lib:format("AuthorizedKeysFile ~ts~nAllowUsers ~ts~n", [Authorized, bct_server:user()]),
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\nMaxStartups 100\n"
    ]),
    Process = bct_server:start(Sshd, ["-D", "-e", "-f", Config], filename:join(Dir, "sshd.log")),
    ok = bct_server:wait_tcp(Port),
    Known = filename:join(Dir, "known_hosts"),
    ok = file:write_file(Known, [known_hosts(Dir, Type, Port) || Type <- Types]),
    #{dir => Dir, port => Port, process => Process, key => list_to_binary(Key),
      locked_key => list_to_binary(Locked), stranger => list_to_binary(Stranger),
      known_hosts => list_to_binary(Known), user => bct_server:user()}.

stop(#{process := Process}) ->
    bct_server:stop(Process).

%% @doc The url of a repository on this machine.
url(#{port := Port, user := User}, Path) ->
    iolist_to_binary(io_lib:format("ssh://~ts@127.0.0.1:~b~ts", [User, Port, Path])).

%% @doc The known_hosts line of a host key.
known_hosts(Dir, Type, Port) ->
    {ok, Public} = file:read_file(host_key(Dir, Type) ++ ".pub"),
    io_lib:format("[127.0.0.1]:~b ~ts~n", [Port, string:trim(Public)]).

host_key(Dir, Type) ->
    filename:join(unicode:characters_to_list(Dir), "host_" ++ Type).

%% @doc An ssh-agent that holds the key; answers its socket and process.
agent(Dir, Key) ->
    Socket = filename:join(unicode:characters_to_list(Dir), "agent"),
    Agent = bct_server:program("ssh-agent", "openssh-client"),
    Process = bct_server:start(Agent, ["-D", "-a", Socket], Socket ++ ".log"),
    Add = bct_server:program("ssh-add", "openssh-client"),
    add(bct_server:program("env", "coreutils"), ["SSH_AUTH_SOCK=" ++ Socket, Add, "-q", Key], 100),
    {Socket, Process}.

%% The socket appears a moment after the agent's start.
add(Env, Args, Tries) ->
    try bct_server:run(Env, Args, "/") of
        _ -> ok
    catch
        error:{program_failed, _, 2, _} when Tries > 0 -> receive after 20 -> add(Env, Args, Tries - 1) end
    end.

keygen(File, Type, Passphrase) ->
    Keygen = bct_server:program("ssh-keygen", "openssh-client"),
    bct_server:run(Keygen, ["-q", "-t", Type, "-N", Passphrase, "-C", "test", "-f", File], "/").
