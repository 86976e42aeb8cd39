%%% @doc A process that does not want to end: it leaves its parent and its session and ignores TERM.
-module(bct_daemon).
-export([script/1, lives/1]).

%% @doc Shell text that starts one. It is known by its name.
script(Name) ->
    "setsid sh -c 'trap \"\" TERM HUP INT; : " ++ Name ++ "; while :; do sleep 0.1; done' "
    "> /dev/null 2>&1 &".

%% @doc Whether a daemon of this name runs.
lives(Name) ->
    Mark = iolist_to_binary([": ", Name, ";"]),
    lists:any(
        fun(File) ->
            StatFile = filename:join(filename:dirname(File), "stat"),
            case {file:read_file(File), file:read_file(StatFile)} of
                {{ok, Line}, {ok, Stat}} ->
                    binary:match(Line, Mark) =/= nomatch
                        andalso binary:match(Stat, <<") Z ">>) =:= nomatch;
                _ -> false
            end
        end,
        filelib:wildcard("/proc/[0-9]*/cmdline")
    ).
